"""Bad input: the right answer or a clear reason, and the server goes on serving."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import imagecodecs
import pydicom
import pytest
from pydicom.encaps import encapsulate
from pydicom.uid import ComprehensiveSRStorage, DeflatedExplicitVRLittleEndian, JPEGLosslessSV1

from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.deliver.outcome import Outcome
from sample_dicom.study import make_study
from tests.server_process import STORESCU, ServerProcess

pytestmark = pytest.mark.slow

Change = Callable[[pydicom.Dataset], None]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path_factory.mktemp("server"), completion="settle_seconds = 0.2\nquiet_seconds = 0.5"
    )
    server.start()
    yield server
    assert server.ready(), "the server no longer serves"
    server.stop()


@pytest.fixture
def image(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[[Change | None], Path]:
    """One image of a study of its own, changed as the test wants, as a Part 10 file."""

    def build(change: Change | None = None) -> Path:
        seed = 500 + abs(hash(request.node.name)) % 10_000
        dataset = make_study(seed, lesion=False, rows=256, columns=208)[0].dataset
        if change is not None:
            change(dataset)
        path = tmp_path / "image.dcm"
        dataset.save_as(path, enforce_file_format=True)
        return path

    return build


def store(server: ServerProcess, path: Path) -> Outcome:
    (outcome,) = send_files(
        [path],
        "127.0.0.1",
        server.dimse_port,
        called_ae_title="ONCOPIXEL",
        calling_ae_title="MODALITY",
    )
    return outcome


def study_of(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)


def test_an_image_without_a_view_is_kept_and_the_job_says_why(server, image) -> None:
    def no_view(dataset: pydicom.Dataset) -> None:
        del dataset.ViewCodeSequence
        dataset.ViewPosition = ""

    path = image(no_view)
    assert store(server, path).status == "0x0000"
    job = server.finished_job(study_of(path))
    assert job["state"] == "not-analysed"
    assert "View Code Sequence" in job["error"]
    assert [item["reason"] for item in job["result"]["images"]] == ["no-view"]


def test_a_corrupt_jpeg_stream_is_kept_and_the_job_says_why(server, image) -> None:
    def corrupt(dataset: pydicom.Dataset) -> None:
        codestream = imagecodecs.ljpeg_encode(dataset.pixel_array, bitspersample=16)
        dataset.PixelData = encapsulate([codestream[: len(codestream) // 2]])
        dataset["PixelData"].VR = "OB"
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1

    path = image(corrupt)
    assert store(server, path).status == "0x0000"
    job = server.finished_job(study_of(path))
    assert job["state"] == "not-analysed"
    assert [item["reason"] for item in job["result"]["images"]] == ["unreadable-pixels"]
    assert "cut short" in job["result"]["images"][0]["reason_detail"]


def test_truncated_pixel_data_is_kept_and_the_job_says_why(server, image) -> None:
    def truncate(dataset: pydicom.Dataset) -> None:
        dataset.PixelData = dataset.PixelData[: len(dataset.PixelData) // 3]

    path = image(truncate)
    assert store(server, path).status == "0x0000"
    job = server.finished_job(study_of(path))
    assert job["state"] == "not-analysed"
    assert [item["reason"] for item in job["result"]["images"]] == ["unreadable-pixels"]


def test_a_file_cut_in_its_header_is_refused_as_not_understood(server, image, tmp_path) -> None:
    path = image()
    content = path.read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(content[:900])
    outcome = store(server, cut)
    assert not outcome.accepted
    assert outcome.status.startswith("0xC")
    assert outcome.error


def test_an_object_that_is_no_image_is_refused_at_the_association(server, image) -> None:
    def report(dataset: pydicom.Dataset) -> None:
        dataset.SOPClassUID = ComprehensiveSRStorage
        dataset.file_meta.MediaStorageSOPClassUID = ComprehensiveSRStorage
        dataset.Modality = "SR"
        del dataset.PixelData

    outcome = store(server, image(report))
    assert not outcome.accepted
    assert "does not take SOP class" in outcome.error


def test_a_transfer_syntax_that_we_do_not_decode_is_refused_at_the_association(
    server, image, tmp_path
) -> None:
    dataset = pydicom.dcmread(image())
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    path = tmp_path / "deflated.dcm"
    dataset.save_as(path, enforce_file_format=True)
    outcome = store(server, path)
    assert not outcome.accepted
    assert "transfer syntax" in outcome.error


def test_other_content_under_the_same_uid_is_kept_apart_and_shown(server, image, tmp_path) -> None:
    path = image()
    assert store(server, path).status == "0x0000"
    dataset = pydicom.dcmread(path)
    dataset.PatientComments = "other content"
    dataset.save_as(other := tmp_path / "other.dcm")
    assert store(server, other).status == "0x0000"
    study = server.get(f"/api/v1/studies/{study_of(path)}")
    assert study["conflicts"] == 1
    stored = list((server.data_dir / "instances").rglob("*.dcm"))
    uid = dataset.SOPInstanceUID
    ours = [p for p in stored if pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID == uid]
    assert len(ours) == 2


@pytest.mark.dcmtk
def test_dcmtk_gets_the_same_answers(server, image) -> None:
    path = image()
    done = subprocess.run(
        [STORESCU, "-v", "-aec", "ONCOPIXEL", "127.0.0.1", str(server.dimse_port), str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "0x0000" in done.stderr + done.stdout or "Success" in done.stderr + done.stdout
