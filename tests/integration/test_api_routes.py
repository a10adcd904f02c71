"""The status API over real HTTP: what it tells of studies, jobs, models and destinations."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import httpx
import pytest
from api_builders import (
    JOB,
    REFUSED,
    analyse,
    answer,
    fail,
    finish,
    make_parts,
    queue,
    receive,
    receive_other_content,
    serving,
    write,
)
from builders import STUDY_UID, later
from conftest import Store
from pydantic import SecretStr

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import DeliveryState, JobState, ObjectKind, Reason
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.settings import FolderDestination, OrthancDestination
from oncopixel_pacs.store.outbox import Outbox


def get(store: Store, path: str, **params: Any) -> Any:
    with serving(make_parts(store)) as client:
        found = client.get(path, params=params)
    assert found.status_code == 200, found.text
    return found.json()


# --- studies ----------------------------------------------------------------------------------


def test_a_study_that_still_receives_says_what_it_waits_for(store: Store) -> None:
    receive(store, 2)
    store.catalogue.note_waiting({STUDY_UID: "R MLO, L MLO, until 12:01:00 UTC"})
    (study,) = get(store, "/api/v1/studies")["items"]
    assert study["state"] == "receiving"
    assert study["waiting_for"] == "R MLO, L MLO, until 12:01:00 UTC"
    assert (study["image_count"], study["views"]) == (2, ["R CC", "L CC"])
    assert (study["revision"], study["latest_job"]) == (0, None)
    assert study["header"]["patient_name"] == "EXAMPLE^JANE"


def test_a_study_shows_its_images_conflicts_and_jobs(store: Store) -> None:
    finish(store)
    receive_other_content(store)
    study = get(store, f"/api/v1/studies/{STUDY_UID}")
    assert study["conflicts"] == 1
    assert len(study["instances"]) == 4
    first = study["instances"][0]
    assert (first["laterality"], first["view"]) == ("R", "CC")
    assert first["calling_ae_title"] == "MODALITY"
    assert [job["id"] for job in study["jobs"]] == [JOB]
    assert study["latest_job"]["finding_count"] == 4


def test_the_newest_job_of_a_study_stands_in_the_list(any_store: Store) -> None:
    receive(any_store)
    queue(any_store, "first", at=60)
    receive(any_store, 2)
    queue(any_store, "second", at=120)
    receive(any_store, study="1.2.3")
    items = get(any_store, "/api/v1/studies")["items"]
    assert {item["study_instance_uid"]: item["latest_job"] for item in items}["1.2.3"] is None
    latest = next(item["latest_job"] for item in items if item["latest_job"])
    assert (latest["id"], latest["revision"]) == ("second", 2)


def test_studies_are_paged_newest_first_without_gap_or_repetition(any_store: Store) -> None:
    uids = [f"1.2.3.{number}" for number in range(5)]
    for uid in uids:
        receive(any_store, study=uid)
    seen: list[str] = []
    cursor: str | None = None
    with serving(make_parts(any_store)) as client:
        for _ in range(3):
            params: dict[str, Any] = {"limit": 2} | ({"cursor": cursor} if cursor else {})
            page = client.get("/api/v1/studies", params=params).json()
            seen += [item["study_instance_uid"] for item in page["items"]]
            cursor = page["next_cursor"]
    assert cursor is None
    assert seen == sorted(uids, reverse=True)


def test_studies_can_be_asked_for_by_state(store: Store) -> None:
    receive(store)
    queue(store)
    receive(store, study="1.2.3")
    for state, uid in (("settled", STUDY_UID), ("receiving", "1.2.3")):
        (study,) = get(store, "/api/v1/studies", state=state)["items"]
        assert study["study_instance_uid"] == uid


# --- jobs -------------------------------------------------------------------------------------


def test_a_queued_job_says_what_it_waits_for(store: Store) -> None:
    receive(store)
    queue(store)
    job = get(store, f"/api/v1/jobs/{JOB}")
    assert job["state"] == "queued"
    assert job["waiting_for"]
    assert (job["steps"], job["objects"], job["result"]) == ([], [], None)


def test_a_job_shows_each_step_with_times_attempts_and_parts(store: Store) -> None:
    finish(store)
    steps = {step["name"]: step for step in get(store, f"/api/v1/jobs/{JOB}")["steps"]}
    assert list(steps) == ["analyse", "write", "deliver"]
    assert steps["analyse"]["state"] == "done"
    assert steps["analyse"]["attempts"] == 1
    assert steps["analyse"]["seconds"] == 2.0
    assert steps["analyse"]["started_at"] == "2025-03-01T12:01:01Z"
    assert steps["analyse"]["detail"] == {"decode": 0.5, "classify": 1.25}


def test_a_failed_job_says_why_in_one_sentence(store: Store) -> None:
    fail(store, "The process that runs the models crashed.")
    job = get(store, f"/api/v1/jobs/{JOB}")
    assert (job["state"], job["error"]) == ("failed", "The process that runs the models crashed.")
    assert job["steps"][0]["error"] == job["error"]


def test_a_job_shows_findings_with_size_and_place_and_images_left_out(store: Store) -> None:
    receive(store, 4)
    queue(store)
    analyse(store, skip_last=True)
    result = get(store, f"/api/v1/jobs/{JOB}")["result"]
    assert result["notice"] == RESEARCH_NOTICE
    assert result["breasts"] == {"R": 0.7, "L": 0.7}
    read, left_out = result["images"][0], result["images"][-1]
    (finding,) = read["findings"]
    assert finding["probability"] == 0.8
    assert finding["centre"] == [1000.0, 500.0]
    assert (finding["long_axis_mm"], finding["short_axis_mm"]) == (14.1, 10.0)
    assert (left_out["reason"], left_out["probability"]) == ("no-view", None)
    assert left_out["reason_sentence"] == Reason.NO_VIEW.sentence
    assert left_out["reason_detail"] == "Empty sequence."
    assert left_out["overlay"] is None


def test_every_result_object_comes_with_its_deliveries(store: Store) -> None:
    finish(store)
    seg, report = get(store, f"/api/v1/jobs/{JOB}")["objects"]
    assert (seg["kind"], seg["sop_class_name"]) == ("seg", "Segmentation Storage")
    assert (report["kind"], report["sop_class_name"]) == ("sr", "Comprehensive 3D SR Storage")
    (delivery,) = seg["deliveries"]
    assert delivery["destination"] == "pacs"
    assert (delivery["state"], delivery["status"]) == ("accepted", "0x0000")


def test_jobs_can_be_asked_for_by_study_and_by_several_states(store: Store) -> None:
    fail(store)
    receive(store, study="1.2.3")
    queue(store, "other", study="1.2.3", at=120)
    with serving(make_parts(store)) as client:

        def ids(**params: Any) -> list[str]:
            return [job["id"] for job in client.get("/api/v1/jobs", params=params).json()["items"]]

        assert ids() == ["other", JOB]
        assert ids(study_instance_uid="1.2.3") == ["other"]
        assert ids(state="failed") == [JOB]
        assert ids(state=["failed", "queued"]) == ["other", JOB]
        assert ids(state="done") == []


def test_jobs_are_paged(store: Store) -> None:
    for number in range(3):
        receive(store, study=f"1.2.3.{number}")
        queue(store, f"job{number}", study=f"1.2.3.{number}", at=60 + number)
    with serving(make_parts(store)) as client:
        first = client.get("/api/v1/jobs", params={"limit": 2}).json()
        rest = client.get("/api/v1/jobs", params={"cursor": first["next_cursor"]}).json()
    assert [job["id"] for job in first["items"]] == ["job2", "job1"]
    assert [job["id"] for job in rest["items"]] == ["job0"]
    assert rest["next_cursor"] is None


# --- retry ------------------------------------------------------------------------------------


def retry(client: httpx.Client, job_id: str = JOB) -> httpx.Response:
    return client.post(f"/api/v1/jobs/{job_id}/retry", headers={"X-Requested-With": "test"})


def test_a_failed_job_is_queued_again(store: Store) -> None:
    fail(store)
    with serving(make_parts(store)) as client:
        again = retry(client)
    assert again.status_code == 202
    assert (again.json()["state"], again.json()["error"]) == ("queued", "")
    assert store.ledger.job(JOB).state is JobState.QUEUED


def test_a_job_that_runs_or_succeeded_is_not_retried(store: Store) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        refused = retry(client)
    assert refused.status_code == 409
    assert "is done" in refused.json()["detail"]
    assert store.ledger.job(JOB).state is JobState.DONE


def test_a_retry_that_lost_a_race_is_a_conflict(store: Store) -> None:
    def too_late(job_id: str) -> Any:
        raise ConfigurationError(f"Job {job_id} is queued; only failed jobs can be retried.")

    fail(store)
    with serving(make_parts(store, retry=too_late)) as client:
        assert retry(client).status_code == 409


# --- models and destinations --------------------------------------------------------------------


@pytest.mark.parametrize("ready", [True, False, None])
def test_models_are_listed_with_their_digests(store: Store, ready: bool | None) -> None:
    with serving(make_parts(store, models_ready=lambda: ready)) as client:
        models = client.get("/api/v1/models").json()
    assert models["ready"] is ready
    assert [item["task"] for item in models["items"]] == ["classify", "segment"]
    assert models["items"][0]["weights_sha256"] == "a" * 64


def test_a_destination_counts_its_deliveries_and_names_its_oldest_problem(any_store: Store) -> None:
    finish(any_store)
    for number, at in ((1, 300.0), (2, 200.0)):
        uid, job_id = f"1.2.3.{number}", f"stuck{number}"
        receive(any_store, study=uid)
        queue(any_store, job_id, study=uid, at=at)
        analyse(any_store, job_id)
        write(any_store, job_id)
        answer(
            any_store,
            DeliveryState.QUEUED,
            job_id,
            status="",
            error=REFUSED,
            next_attempt_at=later(4000),
        )
    (pacs,) = get(any_store, "/api/v1/destinations")["items"]
    assert (pacs["name"], pacs["type"]) == ("pacs", "cstore")
    assert pacs["address"] == "ARCHIVE@127.0.0.1:104"
    assert pacs["deliveries"] == {
        "queued": 4,
        "sending": 0,
        "accepted": 2,
        "confirmed": 0,
        "failed": 0,
    }
    assert pacs["oldest_problem"]["job_id"] == "stuck2"
    assert pacs["oldest_problem"]["error"] == REFUSED


def test_a_destination_tells_its_backlog_and_why_it_rests(any_store: Store) -> None:
    receive(any_store)
    queue(any_store)
    analyse(any_store)
    write(any_store)
    outbox = Outbox(any_store.database)
    (pacs,) = get(any_store, "/api/v1/destinations")["items"]
    assert pacs["backlog"]["waiting"] == 2
    assert pacs["backlog"]["oldest_queued_at"] == "2025-03-01T12:01:04Z"
    assert pacs["backlog"]["oldest_age_seconds"] > 0
    assert not pacs["backlog"]["circuit"]["open"]
    answer(any_store, DeliveryState.QUEUED, status="", error=REFUSED, next_attempt_at=later(70))
    outbox.note_failure("pacs", later(70), REFUSED, opens_after=1, wait_until=lambda _: later(4000))
    (pacs,) = get(any_store, "/api/v1/destinations")["items"]
    assert pacs["backlog"]["next_attempt_at"] == "2025-03-01T13:06:40Z"
    assert pacs["backlog"]["circuit"] == {
        "open": True,
        "failures": 1,
        "opened_at": "2025-03-01T12:01:10Z",
        "next_probe_at": "2025-03-01T13:06:40Z",
        "reason": REFUSED,
    }
    assert outbox.note_answer("pacs", later(80))
    answer(any_store, finished_at=later(81))
    (pacs,) = get(any_store, "/api/v1/destinations")["items"]
    assert pacs["backlog"]["waiting"] == 0
    assert pacs["backlog"]["oldest_age_seconds"] is None


def test_a_destination_without_trouble_names_no_problem(store: Store) -> None:
    finish(store)
    (pacs,) = get(store, "/api/v1/destinations")["items"]
    assert pacs["oldest_problem"] is None


def test_a_destination_that_is_no_longer_configured_still_counts(store: Store) -> None:
    receive(store)
    queue(store)
    analyse(store)
    write(store, destinations={"former": [ObjectKind.SEG]})
    pacs, former = get(store, "/api/v1/destinations")["items"]
    assert (pacs["name"], pacs["configured"]) == ("pacs", True)
    assert (former["name"], former["configured"]) == ("former", False)
    assert former["deliveries"]["queued"] == 1


def test_no_password_of_a_destination_is_told(store: Store, tmp_path: Any) -> None:
    orthanc = OrthancDestination(
        type="orthanc",
        name="orthanc",
        url="http://user:hunter2@127.0.0.1:8042/orthanc",
        user="user",
        password=SecretStr("hunter2"),
    )
    folder = FolderDestination(type="folder", name="folder", path=tmp_path)
    parts = make_parts(store)
    settings = parts.settings.model_copy(update={"destinations": (orthanc, folder)})
    with serving(replace(parts, settings=settings)) as client:
        told = client.get("/api/v1/destinations")
    assert "hunter2" not in told.text
    addresses = [item["address"] for item in told.json()["items"]]
    assert addresses == ["http://127.0.0.1:8042/orthanc", str(tmp_path)]


# --- pictures ---------------------------------------------------------------------------------


def overlay_of(number: int) -> str:
    return f"/api/v1/jobs/{JOB}/images/{STUDY_UID}.1.{number}/overlay.png"


def test_the_overlay_of_an_analysed_image_is_a_png(store: Store) -> None:
    finish(store)
    path = get(store, f"/api/v1/jobs/{JOB}")["result"]["images"][0]["overlay"]
    assert path == overlay_of(1)
    with serving(make_parts(store)) as client:
        picture = client.get(path)
    assert picture.headers["content-type"] == "image/png"
    assert picture.content.startswith(b"\x89PNG")


def test_an_overlay_is_drawn_once_and_not_sent_again_to_who_has_it(store: Store) -> None:
    drawn: list[str] = []

    def count(_job: Any, image: Any) -> bytes:
        drawn.append(image.facts.sop_instance_uid)
        return b"\x89PNG"

    finish(store)
    with serving(make_parts(store, render_overlay=count)) as client:
        first = client.get(overlay_of(1))
        again = client.get(overlay_of(1), headers={"If-None-Match": first.headers["etag"]})
        anew = client.get(overlay_of(1))
        other = client.get(overlay_of(2))
    assert (again.status_code, again.content) == (304, b"")
    assert anew.content == first.content
    assert other.headers["etag"] != first.headers["etag"]
    assert drawn == [f"{STUDY_UID}.1.1", f"{STUDY_UID}.1.2"]


def test_only_the_last_pictures_are_kept(store: Store) -> None:
    drawn: list[str] = []

    def count(_job: Any, image: Any) -> bytes:
        drawn.append(image.facts.sop_instance_uid)
        return b"\x89PNG"

    finish(store, images=18)
    with serving(make_parts(store, render_overlay=count)) as client:
        for number in (*range(1, 19), 18, 1):
            assert client.get(overlay_of(number)).status_code == 200
    assert drawn.count(f"{STUDY_UID}.1.18") == 1
    assert drawn.count(f"{STUDY_UID}.1.1") == 2


def test_there_is_no_overlay_of_an_image_that_was_not_analysed(store: Store) -> None:
    receive(store, 4)
    queue(store)
    with serving(make_parts(store)) as client:
        early = client.get(overlay_of(1))
        analyse(store, skip_last=True)
        left_out = client.get(overlay_of(4))
        unknown = client.get(overlay_of(9))
    assert (early.status_code, left_out.status_code, unknown.status_code) == (404, 404, 404)
    assert Reason.NO_VIEW.sentence in left_out.json()["detail"]


def test_an_image_that_is_gone_from_disk_is_said_so(store: Store) -> None:
    def gone(*_: Any) -> bytes:
        raise FileNotFoundError("/data/secret/path.dcm")

    finish(store)
    with serving(make_parts(store, render_overlay=gone)) as client:
        answered = client.get(overlay_of(1))
    assert answered.status_code == 404
    assert "no longer on disk" in answered.json()["detail"]
    assert "secret" not in answered.text


# --- root -------------------------------------------------------------------------------------


def test_the_root_says_what_this_is_and_leads_to_the_rest(store: Store) -> None:
    with serving(make_parts(store)) as client:
        root = client.get("/api/v1").json()
        for link in root["links"].values():
            assert client.get(link).status_code == 200
    assert root["notice"] == RESEARCH_NOTICE
    assert root["version"] == "9.9.9"
