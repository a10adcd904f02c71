"""Shadow models read what the active ones read; it is compared, and nothing of it is sent."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from api_builders import (
    EVERYTHING,
    JOB,
    analyse,
    finish,
    make_parts,
    queue,
    receive,
    serving,
    write,
)
from builders import later, make_algorithm, make_clock
from bundle_builder import write_bundle
from conftest import Store
from mammogram_builder import SCREENING, write_mammogram

from oncopixel_pacs.domain import Algorithm, ModelTask, StudyResult
from oncopixel_pacs.errors import AnalysisFailed
from oncopixel_pacs.infer.reading import AnalysisRequest
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.settings import InferenceSettings, Settings
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.shadows import Shadows, ShadowState
from oncopixel_pacs.workflow.shadowing import (
    LOOK_BACK,
    MOST_ATTEMPTS,
    ShadowReader,
    begin_shadowing,
    called,
)
from tests.workflow_builder import until

NEXT = replace(make_algorithm(), name="next", version="2.0", threshold=0.6)
SEEKER = replace(make_algorithm(ModelTask.SEGMENT), name="seeker", version="2.0")
LEASE = timedelta(minutes=10)


class Opinionated:
    """A model process that scores every study alike, or fails."""

    device = "cpu"

    def __init__(
        self,
        store: Store,
        score: float = 0.9,
        *failures: Exception,
        ran: tuple[Algorithm, ...] = (),
    ) -> None:
        self._store = store
        self._ran = ran
        self._score = score
        self.failures = list(failures)
        self.asked: list[AnalysisRequest] = []

    def analyse(self, request: AnalysisRequest) -> StudyResult:
        """Give the active result another score."""
        self.asked.append(request)
        if self.failures:
            raise self.failures.pop(0)
        (request.labels_dir / "map").write_bytes(b"map")
        active = self._store.ledger.job(JOB).result
        assert active is not None
        images = active.images if request.only == "seeker" else ()
        ran = self._ran or active.algorithms
        return replace(active, images=images, probability=self._score, algorithms=ran)


def make_reader(
    store: Store,
    analyser: Opinionated,
    *algorithms: Algorithm,
    now: Callable[[], datetime] = lambda: later(600),
) -> ShadowReader:
    return ShadowReader(
        catalogue=store.catalogue,
        ledger=store.ledger,
        files=store.files,
        shadows=Shadows(store.database),
        analyser=analyser,
        algorithms=algorithms or (NEXT,),
        lease=LEASE,
        now=now,
    )


def test_what_the_active_models_read_is_read_once_and_compared(any_store: Store) -> None:
    finish(any_store)
    before = any_store.ledger.job(JOB)
    model = Opinionated(any_store)
    reader = make_reader(any_store, model, NEXT, SEEKER)
    assert [reader.read_next() for _ in range(3)] == [True, True, False]
    assert {item.only for item in model.asked} == {"next", "seeker"}
    scored, sought = Shadows(any_store.database).of_job(JOB)
    assert (scored.state, scored.score, scored.active_score) == (ShadowState.DONE, 0.9, 0.7)
    assert (scored.called, scored.active_called) == (True, True)
    assert (sought.findings, sought.active_findings, sought.called) == (4, 4, True)
    # Results, objects and deliveries are those of the active models, to the last digit.
    assert any_store.ledger.job(JOB) == before
    assert list((any_store.files.data_dir / "labels").glob("*/map")) == []


def test_only_what_has_been_read_and_written_lately_is_read(store: Store) -> None:
    receive(store, 4)
    queue(store)
    model = Opinionated(store)
    assert not make_reader(store, model).read_next()
    analyse(store)
    assert not make_reader(store, model).read_next()
    write(store, JOB, EVERYTHING)
    assert not make_reader(store, model, now=lambda: later(61) + LOOK_BACK).read_next()
    assert make_reader(store, model).read_next()


def test_another_version_reads_anew_and_another_threshold_does(store: Store) -> None:
    finish(store)
    model = Opinionated(store)
    for version in (NEXT, replace(NEXT, version="2.1"), replace(NEXT, threshold=0.95)):
        assert make_reader(store, model, version).read_next()
        assert not make_reader(store, model, version).read_next()
    said = [item.called for item in Shadows(store.database).of_job(JOB)]
    assert (said.count(True), said.count(False)) == (2, 1)


def test_what_a_model_read_before_it_became_a_shadow_is_not_compared_with_itself(
    any_store: Store,
) -> None:
    """It agreed with itself in every study of the day before, and that was counted."""
    finish(any_store)
    model = Opinionated(any_store)
    reader = make_reader(any_store, model, make_algorithm(), NEXT)
    assert [reader.read_next() for _ in range(3)] == [True, True, False]
    assert [item.only for item in model.asked] == ["next"]
    assert [item.model for item in reader.shadows.of_job(JOB)] == ["next"]
    assert {item.model for item in reader.shadows.tallies(later(0))} == {"next"}


def test_two_hosts_never_read_the_same_study_at_once(any_store: Store) -> None:
    finish(any_store)
    shadows = Shadows(any_store.database)
    named = ("next", "2.0", "classify")

    def claim(moment: datetime) -> tuple[str, int] | None:
        return shadows.claim("d" * 64, named, moment, since=later(0), lease=LEASE)

    barrier, taken = threading.Barrier(4), []

    def race() -> None:
        barrier.wait()
        taken.append(claim(later(600)))

    threads = [threading.Thread(target=race) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(item for item in taken if item) == [(JOB, 1)]
    # The host that had it is gone, and another goes on.
    assert claim(later(600) + LEASE) == (JOB, 2)


def test_a_failure_is_tried_again_and_then_told(store: Store) -> None:
    finish(store)
    now = [later(600)]
    trouble = [AnalysisFailed("The process ended.") for _ in range(MOST_ATTEMPTS)]
    model = Opinionated(store, 0.9, *trouble)
    reader = make_reader(store, model, now=lambda: now[0])
    for attempt in range(1, MOST_ATTEMPTS + 1):
        assert reader.read_next()
        assert not reader.read_next()  # it rests
        (reading,) = reader.shadows.of_job(JOB)
        assert (reading.attempts, reading.error) == (attempt, "The process ended.")
        now[0] += timedelta(minutes=2)
    assert reading.state is ShadowState.FAILED
    assert not reader.read_next()


def test_a_bundle_that_was_replaced_meanwhile_says_nothing_under_the_earlier_name(
    store: Store,
) -> None:
    """Its process had to start anew, and read what lies there now."""
    finish(store)
    newer = replace(NEXT, version="3.0")
    reader = make_reader(store, Opinionated(store, ran=(newer,)))
    assert reader.read_next()
    (reading,) = reader.shadows.of_job(JOB)
    assert (reading.version, reading.state) == ("2.0", ShadowState.FAILED)
    assert "restart the server" in reading.error
    assert make_reader(store, Opinionated(store, ran=(newer,)), newer).read_next()
    assert {item.version for item in reader.shadows.of_job(JOB) if item.called} == {"3.0"}


def test_what_no_attempt_can_mend_is_told_at_once(store: Store) -> None:
    finish(store)
    model = Opinionated(store, 0.9, AnalysisFailed("NaN or infinity.", permanent=True))
    reader = make_reader(store, model)
    assert reader.read_next()
    assert reader.shadows.of_job(JOB)[0].state is ShadowState.FAILED


def test_our_own_end_is_no_failure(store: Store) -> None:
    finish(store)
    reader = make_reader(store, Opinionated(store, 0.9, AnalysisFailed("stopped")))
    reader.stopping.set()
    assert not reader.read_next()
    assert reader.shadows.of_job(JOB)[0].attempts == 0
    assert make_reader(store, Opinionated(store)).read_next()


def test_the_api_and_the_pages_tell_how_far_both_agree(store: Store) -> None:
    finish(store)
    for threshold, score in ((0.6, 0.9), (0.95, 0.9)):
        model = replace(NEXT, threshold=threshold, version=f"2.{threshold:.0%}")
        assert make_reader(store, Opinionated(store, score), model).read_next()
    with serving(make_parts(store)) as client:
        alike, apart = client.get("/api/v1/monitoring/shadows").json()["items"]
        of_job = client.get(f"/api/v1/jobs/{JOB}/shadows").json()["items"]
        whole = client.get(f"/api/v1/jobs/{JOB}/shadows/next").json()
        unknown = client.get(f"/api/v1/jobs/{JOB}/shadows/other").status_code
        models, job = client.get("/models").text, client.get(f"/jobs/{JOB}").text
    assert (alike["both"], alike["compared"], alike["weeks"][0]["agreed"]) == (1, 1, 1)
    assert (apart["only_active"], apart["weeks"][0]["agreed"]) == (1, 0)
    assert alike["score_difference"] == pytest.approx(0.2)
    assert alike["score_correlation"] is None
    assert [item["called"] for item in of_job] == [True, False]
    assert whole["probability"] == 0.9
    assert unknown == 404
    assert "Studies called alike, next 2.60%" in models
    assert "100.0%" in models
    assert "was sent nowhere" in job


def test_a_model_that_read_no_image_calls_nothing() -> None:
    empty = StudyResult("1.2", 1, (SEEKER,), (), {}, None)
    assert called(empty, NEXT) is None
    assert called(empty, SEEKER) is None


def test_shadow_models_are_none_of_those_that_results_are_made_of(
    store: Store, tmp_path: Path
) -> None:
    active = write_bundle(tmp_path / "active")
    shadow = write_bundle(tmp_path / "shadow").model_copy(update={"name": "s", "shadow": True})
    both = Settings(data_dir=tmp_path, models=(active, shadow))
    assert (both.active_models, both.shadow_models) == ((active,), (shadow,))
    with serving(make_parts(store, settings=both)) as client:
        listed = client.get("/api/v1/models").json()["shadows"]
        page = client.get("/models").text
    assert [(item["name"], item["weights_sha256"]) for item in listed] == [("s", shadow.sha256)]
    assert "s: no study read yet" in page
    alone = Settings(data_dir=tmp_path, models=(shadow,))
    assert alone.active_models == Settings(data_dir=tmp_path).active_models
    assert Settings(data_dir=tmp_path).shadow_models == ()


def test_a_real_shadow_model_reads_in_its_own_process(store: Store, tmp_path: Path) -> None:
    intake = Intake(store.files, store.catalogue, make_clock(later(0)))
    for view in SCREENING:
        intake.accept_file(write_mammogram(tmp_path, view), "MODALITY")
    study = store.catalogue.studies().items[0]
    store.catalogue.settle(study, "d" * 64, JOB, later(60), lambda *_: None)
    analyse(store)
    write(store)
    models = tuple(
        write_bundle(tmp_path / task, task).model_copy(update={"shadow": True})
        for task in ModelTask
    )
    settings = Settings(
        data_dir=store.files.data_dir,
        models=models,
        inference=InferenceSettings(device="cpu", threads=1),
    )
    shadows = Shadows(store.database)
    catalogue: Catalogue = store.catalogue
    with contextlib.ExitStack() as closing:
        begin_shadowing(
            settings, catalogue, store.ledger, store.files, shadows, lambda: later(600), closing
        )
        until(lambda: [i.state for i in shadows.of_job(JOB)] == [ShadowState.DONE] * 2, 300)
    readings = {item.model: item for item in shadows.of_job(JOB)}
    assert readings["tiny-classify"].score is not None
    assert readings["tiny-segment"].score is None
    whole = shadows.result(JOB, "tiny-segment")
    assert whole is not None
    assert [item.name for item in whole.algorithms] == ["tiny-segment"]
