"""A stranger's bundle for breast density: added from the shell, served, its answers in the SR."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.report.external_validation import validate_with_tools
from sample_dicom.study import make_study
from tests.dimse_builder import store
from tests.fhir_server import FhirServer, fhir_server
from tests.golden_collection import COLLECTION
from tests.server_process import ServerProcess, wait_until
from tests.trusted_builder import needs_confinement, write_zoo_bundle

pytestmark = needs_confinement

#: Images of so many columns are answered with NaN.
_NAN = 206
_CODE = f"""
columns = int(item["image"].meta["spatial_shape"][0])
if columns == {_NAN}:
    item["pred"] = item["pred"] * float("nan")
"""
DENSITIES = {
    "Almost entirely fat",
    "Scattered fibroglandular densities",
    "Heterogeneously dense",
    "Extremely dense",
}


def models(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["models", *map(str, arguments)])


@pytest.fixture(scope="module")
def fhir() -> Iterator[FhirServer]:
    with fhir_server() as server:
        yield server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, fhir: FhirServer) -> Iterator[ServerProcess]:
    folder = tmp_path_factory.mktemp("trusted-served")
    bundle = write_zoo_bundle(folder / "density", code=_CODE)
    server = ServerProcess(
        folder / "server",
        completion="settle_seconds = 0.2\nquiet_seconds = 0.5",
        extra='[inference]\ndevice = "cpu"\nmax_attempts = 1',
        destinations=f"""
[[destinations]]
name = "folder"
type = "folder"
path = "{folder / "out"}"
objects = ["sr", "sc", "pdf"]
[[exports]]
name = "emr"
type = "fhir"
url = "{fhir.url}"
""",
    )
    before = server.config.read_text()
    strict = models("add", bundle, "--name", "density", "--config", server.config)
    assert strict.exit_code == 1
    assert "--trusted runs the bundle's own code" in str(strict.exception)
    assert server.config.read_text() == before
    added = models("add", bundle, "--name", "density", "--trusted", "--config", server.config)
    assert added.exit_code == 0, added.exception
    server.start()
    yield server
    server.stop()


def send(server: ServerProcess, seed: int, columns: int = 208) -> Dataset:
    image = make_study(seed, rows=256, columns=columns)[0].dataset
    assert store(server.dimse_port, image, sop_class=image.SOPClassUID).Status == 0x0000
    return image


def scores(item: Dataset) -> dict[str, float]:
    """Read the probability of each class, in percent, by the meaning of its code."""
    found: dict[str, float] = {}
    for child in item.get("ContentSequence") or ():
        name = child.get("ConceptNameCodeSequence")
        if name and name[0].CodeValue == "122157":
            of = child.ContentSequence[0].ConceptCodeSequence[0]
            assert of.CodingSchemeDesignator == "SCT"
            found[str(of.CodeMeaning)] = float(child.MeasuredValueSequence[0].NumericValue)
        found |= scores(child)
    return found


def test_a_mammogram_comes_back_with_coded_densities(
    server: ServerProcess, fhir: FhirServer, tmp_path: Path
) -> None:
    image = send(server, 41)

    job = server.finished_job(str(image.StudyInstanceUID))

    assert (job["state"], job["error"]) == ("done", "")
    paths = list((server.folder.parent / "out").rglob("*.dcm"))
    source = tmp_path / "mg.dcm"
    image.save_as(source, enforce_file_format=True)
    validation = validate_with_tools(paths, [source])
    assert {"dciodvfy", "dcentvfy", "dsrdump"} <= set(validation.tools)
    assert validation.problems == ()
    COLLECTION.add(paths, [source])
    (report,) = (
        found for path in paths if (found := dcmread(path)).SOPClassUID == Comprehensive3DSRStorage
    )
    found = scores(report)
    assert set(found) == DENSITIES
    assert all(0 < share < 100 for share in found.values())
    assert "research" in str(report).lower()
    wait_until(lambda: fhir.requests, 30, "the export")
    told = [entry["resource"] for entry in fhir.requests[0][1]["entry"]]
    (density,) = (item for item in told if item["resourceType"] == "Observation")
    assert density["valueCodeableConcept"]["coding"][0]["display"] in DENSITIES


def test_what_it_does_wrong_fails_one_study_and_the_next_is_read(server: ServerProcess) -> None:
    image = send(server, 42, _NAN)
    job = server.finished_job(str(image.StudyInstanceUID))
    assert job["state"] == "failed"
    assert "NaN" in job["error"]
    image = send(server, 44)
    assert server.finished_job(str(image.StudyInstanceUID))["state"] == "done"


def test_a_changed_script_keeps_it_from_being_loaded(server: ServerProcess) -> None:
    script = server.folder.parent / "density" / "scripts" / "steps.py"
    whole = script.read_bytes()
    script.write_bytes(whole + b"\n")
    try:
        checked = models("check", "--config", server.config)
    finally:
        script.write_bytes(whole)
    assert checked.exit_code == 1
    assert "scripts/steps.py is not the file that is pinned" in checked.stdout
