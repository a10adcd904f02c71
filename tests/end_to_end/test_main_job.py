"""The main job on the whole product: real processes, real DICOM, a real Orthanc."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest

from oncopixel_pacs.demo.archives import OrthancArchive
from oncopixel_pacs.report.external_validation import validate_with_tools
from tests.faults.oracle import SEG, SR
from tests.mammogram_builder import SCREENING, write_mammogram
from tests.otlp_collector import Collector, collecting
from tests.server_process import STORESCU, ServerProcess, free_port, wait_until

ORTHANC = shutil.which("Orthanc") or shutil.which("/usr/sbin/Orthanc")
DATA = os.environ.get("ONCOPIXEL_DATA")
TOOLS = {"dciodvfy", "dcentvfy", "dsrdump"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.orthanc,
    pytest.mark.dcmtk,
    pytest.mark.skipif(ORTHANC is None, reason="the orthanc package is not installed"),
]


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OrthancArchive]:
    assert ORTHANC is not None
    folder = tmp_path_factory.mktemp("orthanc")
    archive = OrthancArchive(ORTHANC, folder, "ORTHANC", free_port(), free_port())
    archive.start()
    yield archive
    archive.stop()


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as found:
        yield found


@pytest.fixture(scope="module")
def server(
    tmp_path_factory: pytest.TempPathFactory, orthanc: OrthancArchive, collector: Collector
) -> Iterator[ServerProcess]:
    server = ServerProcess(
        tmp_path_factory.mktemp("server"),
        completion="settle_seconds = 0.5\nquiet_seconds = 3.0",
        destinations=f"""
[[destinations]]
name = "orthanc"
type = "cstore"
host = "127.0.0.1"
port = {orthanc.port}
ae_title = "ORTHANC"
[tracing]
endpoint = "{collector.url}"
""",
    )
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def real_mammogram() -> Path:
    if DATA is None:
        pytest.skip("ONCOPIXEL_DATA does not name the folder of real data")
    return Path(DATA) / "dicom_mg" / "fo-dicom_GH133.dcm"


def storescu(server: ServerProcess, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [STORESCU, "-v", "-aec", "ONCOPIXEL", *arguments[:-1]]
        + ["127.0.0.1", str(server.dimse_port), arguments[-1]],
        capture_output=True,
        text=True,
        check=False,
    )


def test_a_real_mammogram_comes_back_to_orthanc_as_seg_and_sr(
    server: ServerProcess, orthanc: OrthancArchive, real_mammogram: Path, tmp_path: Path
) -> None:
    sent = storescu(server, "-xs", str(real_mammogram))
    assert sent.returncode == 0, sent.stderr
    source = pydicom.dcmread(real_mammogram)

    job = server.finished_job(str(source.StudyInstanceUID))

    assert (job["state"], job["error"]) == ("done", "")
    received = orthanc.fetch(str(source.StudyInstanceUID), tmp_path)
    objects = {str(d.SOPClassUID): d for d in map(pydicom.dcmread, received)}
    assert set(objects) == {SEG, SR}
    seg, report = objects[SEG], objects[SR]
    assert (seg.Rows, seg.Columns) == (source.Rows, source.Columns)
    assert list(seg.PatientOrientation) == list(source.PatientOrientation)
    assert seg.StudyInstanceUID == report.StudyInstanceUID == source.StudyInstanceUID
    assert report.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    validation = validate_with_tools(received, [real_mammogram])
    assert set(validation.tools) >= TOOLS
    assert validation.problems == ()


def test_its_trace_reaches_from_the_association_to_the_proof(
    server: ServerProcess, collector: Collector, tmp_path: Path
) -> None:
    path = write_mammogram(tmp_path, SCREENING[0])
    with pydicom.dcmread(path) as image:
        image.PatientName, image.PatientID = "CANARY^NAME", "CANARY-ID"
        image.save_as(path)
    sent = storescu(server, str(path))
    assert sent.returncode == 0, sent.stderr
    study = str(pydicom.dcmread(path).StudyInstanceUID)
    job = server.finished_job(study)

    whole = wait_until(
        lambda: [
            span for span in collector.spans if span.attributes.get("oncopixel.job.id") == job["id"]
        ],
        120,
        "the study has no trace",
    )[0]

    spans = [span for span in collector.spans if span.trace_id == whole.trace_id]
    paths = {collector.path(span) for span in spans}
    assert ("study", "association") in paths
    assert ("study", "analyse", "classify") in paths
    assert ("study", "write", "gate") in paths
    assert ("study", "deliver", "delivery", "proof") in paths
    starts = {span.name: span.start for span in spans}
    steps = ["association", "wait for completeness", "analyse", "write", "deliver", "proof"]
    assert sorted(steps, key=lambda name: starts[name]) == steps
    everything = b"".join(collector.bodies)
    assert b"CANARY" not in everything
    assert study.encode() not in everything


def test_the_same_without_any_network_in_one_process(real_mammogram: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "oncopixel_pacs", "run", str(real_mammogram)]
        + ["--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    objects = sorted(tmp_path.rglob("*.dcm"))
    assert {str(pydicom.dcmread(path).SOPClassUID) for path in objects} == {SEG, SR}
    assert len(list(tmp_path.rglob("results.json"))) == 1
    assert len(list(tmp_path.rglob("*.png"))) == 1
    validation = validate_with_tools(objects, [real_mammogram])
    assert set(validation.tools) >= TOOLS
    assert validation.problems == ()
