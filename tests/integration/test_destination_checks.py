"""Whether a destination keeps what it is sent: a picture of no patient tells."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from api_builders import make_parts, serving
from builders import later
from conftest import Store
from pydicom import dcmread
from pydicom.uid import SecondaryCaptureImageStorage

from oncopixel_pacs.demo.embedded_archive import EmbeddedArchive
from oncopixel_pacs.destination_checks import send_test
from oncopixel_pacs.report.external_validation import find_errors
from oncopixel_pacs.report.trial_picture import PATIENT_ID, build_trial_picture
from oncopixel_pacs.settings import CStoreDestination, FolderDestination, Settings


@contextmanager
def archive(folder: Path, status: int = 0x0000) -> Iterator[int]:
    held = EmbeddedArchive(folder, "ARCHIVE", answer=lambda _: status)
    port = held.start()
    try:
        yield port
    finally:
        held.stop()


def pacs(port: int) -> CStoreDestination:
    return CStoreDestination(
        type="cstore", name="pacs", host="127.0.0.1", port=port, ae_title="ARCHIVE"
    )


def test_a_test_picture_reaches_the_archive_and_is_no_patient(tmp_path: Path) -> None:
    with archive(tmp_path / "archive") as port:
        settings = Settings(data_dir=tmp_path / "data")
        said = send_test(settings, lambda: later(0), pacs(port))
        send_test(settings, lambda: later(1), pacs(port))
    first, second = sorted(
        (dcmread(path) for path in (tmp_path / "archive").iterdir()),
        key=lambda item: str(item.InstanceCreationTime),
    )
    assert "pacs took the test picture and answered 0x0000" in said
    assert first.SOPInstanceUID in said
    assert first.PatientID == PATIENT_ID
    assert first.StudyInstanceUID == second.StudyInstanceUID
    assert first.SOPInstanceUID != second.SOPInstanceUID
    assert 0 < (first.pixel_array > 128).mean() < 0.2  # words on black


def test_a_destination_that_refuses_it_is_told_with_its_answer(store: Store) -> None:
    folder = store.files.data_dir / "archive"
    with archive(folder, 0xA700) as port:
        parts = make_parts(store)
        settings = parts.settings.model_copy(update={"destinations": (pacs(port),)})
        test_send = partial(send_test, settings, lambda: later(0))
        with serving(replace(parts, settings=settings, test_send=test_send)) as client:
            ours = {"X-Requested-With": "test"}
            answer = client.post("/api/v1/destinations/pacs/test", headers=ours).json()
            page = client.post("/destinations/pacs/test", headers=ours).text
            unknown = client.post("/api/v1/destinations/other/test", headers=ours)
    assert answer["ok"] is False
    assert "0xA700" in answer["said"]
    assert "0xA700" in page
    assert unknown.status_code == 404


def test_a_folder_that_is_not_there_is_told(store: Store, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    folder = FolderDestination(type="folder", name="out", path=blocked)
    parts = make_parts(store)
    settings = parts.settings.model_copy(update={"destinations": (folder,)})
    with serving(
        replace(parts, settings=settings, test_send=partial(send_test, settings, lambda: later(0)))
    ) as client:
        ours = {"X-Requested-With": "test"}
        answer = client.post("/api/v1/destinations/out/test", headers=ours)
    assert answer.status_code == 200
    assert answer.json()["ok"] is False


def test_a_test_picture_is_flawless_dicom(tmp_path: Path) -> None:
    picture = build_trial_picture("münster", later(0))
    path = tmp_path / "test.dcm"
    path.write_bytes(picture.part10)
    report = find_errors([path], 30)
    assert report.errors == ()
    dataset = dcmread(path)
    assert dataset.file_meta.MediaStorageSOPInstanceUID == picture.sop_instance_uid
    assert dataset.SOPClassUID == SecondaryCaptureImageStorage
    assert "RESEARCH USE ONLY" in dataset.SeriesDescription
