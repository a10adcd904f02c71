"""Each image and model that did not come together is shown with its own reason."""

from __future__ import annotations

from dataclasses import replace

from api_builders import JOB, analyse, make_parts, queue, receive, serving
from builders import STUDY_UID
from conftest import Store

from oncopixel_pacs.domain import ModelTask, Reason, Skip

SKIP = Skip("Test segment", ModelTask.SEGMENT, Reason.MODEL_PIXEL_SIZE, "It reads 0.05 to 0.07 mm.")


def skip_first(store: Store) -> None:
    """Analyse a study whose first image the segmenter does not read."""
    receive(store, 2)
    queue(store)
    analyse(store)
    result = store.ledger.job(JOB).result
    assert result is not None
    first = replace(result.images[0], skipped=(SKIP,))
    store.ledger.save_result(JOB, replace(result, images=(first, *result.images[1:])))


def test_the_api_tells_the_model_the_reason_and_the_detail(any_store: Store) -> None:
    skip_first(any_store)
    with serving(make_parts(any_store)) as client:
        first, second = client.get(f"/api/v1/jobs/{JOB}").json()["result"]["images"]
    assert first["skipped"] == [
        {
            "model": "Test segment",
            "task": "segment",
            "reason": "model-pixel-size",
            "sentence": Reason.MODEL_PIXEL_SIZE.sentence,
            "detail": "It reads 0.05 to 0.07 mm.",
        }
    ]
    assert (first["reason"], second["skipped"]) == (None, [])


def test_so_do_the_pages_of_job_and_study(store: Store) -> None:
    skip_first(store)
    with serving(make_parts(store)) as client:
        for path in (f"/jobs/{JOB}", f"/studies/{STUDY_UID}"):
            page = client.get(path).text
            for words in ("Test segment", "model-pixel-size", SKIP.reason.sentence, SKIP.detail):
                assert words in page
