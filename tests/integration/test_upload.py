"""Images uploaded over HTTP: what is taken, what it becomes, and that nothing is done twice."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from api_builders import later, make_parts, serving
from conftest import Store
from mammogram_builder import SCREENING, STUDY_UID
from pydicom import dcmread
from rejection_builder import OF_INTEREST, rejection_note, write_note
from upload_builders import PIXEL_MM, archive, dicom, grey16, png

from oncopixel_pacs.domain import JobState, StudyState
from oncopixel_pacs.route import why_not

HEADERS = {"X-Requested-With": "test"}
R_CC, L_CC, _, L_MLO = SCREENING
SAID = {"laterality": "L", "view": "CC", "pixel_spacing_mm": PIXEL_MM, "patient_id": "P-1"}


def post(client: httpx.Client, *files: tuple[str, bytes], **more: Any) -> httpx.Response:
    headers = {**HEADERS, **more.pop("headers", {})}
    return client.post(
        "/api/v1/images",
        files=[("file", item) for item in files],
        data=more.pop("said", SAID),
        headers=headers,
    )


def test_a_picture_with_breast_view_and_pixel_size_becomes_a_readable_secondary_capture(
    store: Store,
) -> None:
    with serving(make_parts(store)) as client:
        answer = post(client, ("l-cc.png", png()))
        assert answer.status_code == 202, answer.text
        assert client.get(answer.headers["Location"]).json() == answer.json()
    body = answer.json()
    assert body["state"] == "waiting"
    (uid,) = [item["study_instance_uid"] for item in body["images"]]
    study = store.catalogue.study(uid)
    assert study.declared_complete
    (image,) = study.instances
    assert why_not(image.facts) is None
    assert (image.facts.name, image.facts.spacing_mm) == ("L CC", (0.25, 0.25))
    assert study.header.patient_id == "P-1"
    written = dcmread(store.files.absolute(image.path))
    assert written.pixel_array.dtype == "uint16"
    assert (written.pixel_array == grey16()).all()
    assert not list(store.files.incoming.iterdir())


def test_without_them_it_is_kept_and_the_reason_is_plain(store: Store) -> None:
    with serving(make_parts(store)) as client:
        body = post(client, ("x.png", png()), said={}).json()
    (image,) = store.catalogue.study(body["images"][0]["study_instance_uid"]).instances
    reason = why_not(image.facts)
    assert reason is not None
    assert "Laterality" in reason.sentence


def test_pictures_of_one_upload_are_one_study_each_with_its_own_fields(store: Store) -> None:
    with serving(make_parts(store)) as client:
        said = {"laterality": ["R", "L"], "view": ["CC", "MLO"], "pixel_spacing_mm": PIXEL_MM}
        body = post(client, ("a.png", png(R_CC)), ("b.png", png(L_MLO)), said=said).json()
    (uid,) = {item["study_instance_uid"] for item in body["images"]}
    names = {item.facts.name for item in store.catalogue.study(uid).instances}
    assert names == {"R CC", "L MLO"}


def test_dicom_and_an_archive_of_it_are_taken_as_they_are(store: Store, tmp_path: Path) -> None:
    entries = {
        "exam/1": dicom(tmp_path, R_CC),
        "exam/readme.txt": b"hello",
        "DICOMDIR": b"x",
        "__MACOSX/._1": b"x",
    }
    with serving(make_parts(store)) as client:
        body = post(client, ("2.dcm", dicom(tmp_path)), ("e.zip", archive(entries)), said={}).json()
    outcomes = {item["name"]: item["outcome"] for item in body["images"]}
    assert outcomes == {
        "2.dcm": "received",
        "e.zip/exam/1": "received",
        "e.zip/exam/readme.txt": "skipped",
    }
    assert len(store.catalogue.study(STUDY_UID).instances) == 2
    assert store.catalogue.study(STUDY_UID).declared_complete


def test_a_study_that_a_modality_is_sending_is_not_cut_short(store: Store, tmp_path: Path) -> None:
    from oncopixel_pacs.receive.intake import Intake

    folder = tmp_path / "sent"
    folder.mkdir()
    dicom(folder, R_CC)
    Intake(store.files, store.catalogue, lambda: later(1)).accept_file(folder / "1.dcm", "MAMMO1")
    with serving(make_parts(store)) as client:
        assert post(client, ("2.dcm", dicom(tmp_path)), said={}).status_code == 202
    study = store.catalogue.study(STUDY_UID)
    assert len(study.instances) == 2
    assert not study.declared_complete


def test_more_may_be_announced(store: Store) -> None:
    with serving(make_parts(store)) as client:
        said = {**SAID, "accession_number": "A-1", "complete": "false"}
        body = post(client, ("a.png", png()), said=said).json()
        (uid,) = [item["study_instance_uid"] for item in body["studies"]]
        assert not store.catalogue.study(uid).declared_complete
        said |= {"view": "MLO", "complete": "true"}
        assert post(client, ("b.png", png(L_MLO)), said=said).status_code == 202
    study = store.catalogue.study(uid)
    assert len(study.instances) == 2
    assert study.declared_complete


def test_the_same_again_is_the_same_upload_and_no_second_job(store: Store) -> None:
    with serving(make_parts(store)) as client:
        first = post(client, ("a.png", png())).json()
        (uid,) = [item["study_instance_uid"] for item in first["studies"]]
        settle(store, uid)
        again = post(client, ("renamed.png", png())).json()
    assert again["id"] == first["id"]
    assert [item["outcome"] for item in again["images"]] == ["duplicate"]
    assert store.catalogue.study(uid).state is StudyState.SETTLED
    assert len(store.ledger.jobs(study_instance_uid=uid).items) == 1


def test_a_second_picture_beside_one_that_is_held_joins_its_study(store: Store) -> None:
    with serving(make_parts(store)) as client:
        first = post(client, ("a.png", png())).json()
        said = {**SAID, "view": ["CC", "MLO"]}
        both = post(client, ("a.png", png()), ("b.png", png(L_MLO)), said=said).json()
    assert [item["study_instance_uid"] for item in both["studies"]] == [
        first["studies"][0]["study_instance_uid"]
    ]


def test_an_idempotency_key_stands_for_one_upload(store: Store) -> None:
    key = {"Idempotency-Key": "4f0c"}
    with serving(make_parts(store)) as client:
        first = post(client, ("a.png", png()), headers=key)
        again = post(client, ("a.png", png()), headers=key)
        other = post(client, ("a.png", png(R_CC)), headers=key)
    assert first.json() == again.json()
    assert first.headers["Location"] == again.headers["Location"]
    assert other.status_code == 422
    assert "Idempotency-Key" in other.json()["detail"]


def test_of_several_uploads_under_one_key_at_a_time_one_is_taken(store: Store) -> None:
    key = {"Idempotency-Key": "4f0d"}
    with serving(make_parts(store)) as client, ThreadPoolExecutor(3) as senders:
        answers = list(
            senders.map(
                lambda view: post(client, ("a.png", png(view)), headers=key), (R_CC, L_MLO, L_CC)
            )
        )
    assert sorted(answer.status_code for answer in answers) == [202, 422, 422]


@pytest.mark.parametrize(
    ("said", "word"),
    [
        ({"laterality": "B"}, "laterality is R or L"),
        ({"view": "LM"}, "view is CC or MLO"),
        ({"pixel_spacing_mm": "nan"}, "pixel_spacing_mm"),
        ({"patient_id": "x" * 65}, "patient_id"),
        ({"laterality": ["L", "R"]}, "once for each file"),
        ({"side": "L"}, "There is no field 'side'"),
        ({"complete": "perhaps"}, "complete is true or false"),
    ],
)
def test_a_field_that_says_nothing_is_refused(
    store: Store, said: dict[str, Any], word: str
) -> None:
    with serving(make_parts(store)) as client:
        answer = post(client, ("a.png", png()), said=said)
    assert answer.status_code == 422
    assert word in answer.json()["detail"]
    assert store.catalogue.counts() == {}


def settle(store: Store, study_instance_uid: str) -> None:
    study = store.catalogue.study(study_instance_uid)
    assert store.catalogue.settle(study, "d" * 64, "job-1", later(60), lambda *_: None)


def test_an_upload_that_was_taken_in_the_place_of_other_content_comes_to_an_answer(
    store: Store, tmp_path: Path
) -> None:
    with serving(make_parts(store)) as client:
        post(client, ("a.dcm", dicom(tmp_path, R_CC)), said={})
        settle(store, STUDY_UID)
        with dcmread(io.BytesIO(dicom(tmp_path, R_CC))) as image:
            image.PatientName = "DOE^JANE"
            image.save_as(tmp_path / "corrected.dcm")
        corrected = (tmp_path / "corrected.dcm").read_bytes()
        body = post(client, ("b.dcm", corrected), said={}).json()
        assert (body["state"], body["images"][0]["outcome"]) == ("not-analysed", "conflict")
        taken = client.post(
            f"/api/v1/studies/{STUDY_UID}/conflicts/take", headers={"X-Requested-With": "test"}
        )
        assert taken.status_code == 409  # the first job waits yet
        store.ledger.finish("job-1", JobState.DONE, later(60))
        client.post(
            f"/api/v1/studies/{STUDY_UID}/conflicts/take", headers={"X-Requested-With": "test"}
        ).raise_for_status()
        body = client.get(body["href"]).json()
        assert (body["state"], body["images"][0]["outcome"]) == ("waiting", "received")
        assert body["studies"][0]["job_id"] is None
        study = store.catalogue.study(STUDY_UID)
        store.catalogue.settle(study, "d" * 64, "job-2", later(70), lambda *_: None)
        (answer,) = client.get(body["href"]).json()["studies"]
    assert answer["job_id"] == "job-2"


def test_documents_that_come_beside_images_keep_no_upload_waiting(
    store: Store, tmp_path: Path
) -> None:
    # As archives export a study: with the selection of its key images.
    note = write_note(tmp_path, rejection_note([R_CC.sop_uid], OF_INTEREST)).read_bytes()
    exported = archive({"1": dicom(tmp_path, R_CC), "2": note})
    with serving(make_parts(store)) as client:
        body = post(client, ("e.zip", exported), said={}).json()
        assert body["state"] == "waiting"
        settle(store, STUDY_UID)
        (study,) = client.get(body["href"]).json()["studies"]
        assert study["job_id"] == "job-1"


def test_a_document_alone_says_nothing_until_its_study_is_settled(
    store: Store, tmp_path: Path
) -> None:
    note = write_note(tmp_path, rejection_note([R_CC.sop_uid])).read_bytes()
    with serving(make_parts(store)) as client:
        body = post(client, ("note.dcm", note), said={}).json()
        assert body["state"] == "waiting"
        study = store.catalogue.study(STUDY_UID)
        assert store.catalogue.settle(study, "d" * 64, "j", later(60), lambda *_: None) is None
        (answer,) = client.get(body["href"]).json()["studies"]
        page = client.get(f"/studies/{STUDY_UID}").text
    assert (answer["state"], answer["reason"]) == ("not-analysed", "It holds no image.")
    assert "Images <small>0</small>" in page
    assert "not yet" not in page
