"""Pictures that are no mammograms on the whole product: sent by C-STORE, read, reported, shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import Comprehensive3DSRStorage, SegmentationStorage
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.report.external_validation import validate_with_tools
from oncopixel_pacs.settings import ModelSettings
from sample_dicom.pictures import PictureKind, make_picture
from sample_dicom.study import make_study
from tests.bundle_builder import write_bundle
from tests.dimse_builder import store
from tests.golden_collection import COLLECTION
from tests.picture_builders import BRAIN, BRAIN_SITE, write_picture_bundle
from tests.server_process import ServerProcess

LYMPH_SITE = ("59441001", "SCT", "Lymph node")


def table(model: ModelSettings, **rule: str) -> str:
    """Write a model into the configuration, with the rule of the site."""
    rules = "".join(f'{key} = ["{value}"]\n' for key, value in rule.items())
    return (
        f'[[models]]\nname = "{model.name}"\ntask = "{model.task}"\nbundle = "{model.bundle}"\n'
        f'sha256 = "{model.sha256}"\nthreshold = {model.threshold}\n'
        + (f"[models.rule]\n{rules}" if rules else "")
    )


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """Run six models in one server: of mammograms, brains, breast tissue and patches."""
    folder = tmp_path_factory.mktemp("pictures")
    models = [
        table(write_bundle(folder / "mammo-class", ModelTask.CLASSIFY)),
        table(write_bundle(folder / "mammo-lesions", ModelTask.SEGMENT, threshold=1.0)),
        table(
            write_picture_bundle(
                folder / "brain-class",
                BRAIN,
                channels=1,
                modalities=["MR"],
                site=BRAIN_SITE,
                calibration={"kind": "temperature", "slope": 2.0, "shift": 0.0},
            )
        ),
        table(
            write_picture_bundle(folder / "patch-class", ("normal", "tumour"), site=LYMPH_SITE),
            body_parts="LYMPHNODE",
        ),
        table(write_picture_bundle(folder / "breast-class", ("benign", "malignant"))),
        table(
            write_picture_bundle(
                folder / "breast-tissue",
                ("tumour", "stroma", "necrosis", "other"),
                ModelTask.SEGMENT,
            ),
            body_parts="BREAST",
        ),
    ]
    server = ServerProcess(
        folder / "server",
        completion="settle_seconds = 0.2\nquiet_seconds = 0.5",
        destinations=f"""
[[destinations]]
name = "folder"
type = "folder"
path = "{folder / "out"}"
objects = ["seg", "sr", "sc", "pdf"]
"""
        + "\n".join(models),
    )
    server.start()
    yield server
    server.stop()


def objects_of(server: ServerProcess, dataset: Dataset, source: Path) -> dict[str, Dataset]:
    """Send an image and hold every validator against what the server made of it."""
    dataset.save_as(source, enforce_file_format=True)
    status = store(server.dimse_port, dataset, sop_class=dataset.SOPClassUID).Status
    assert status == 0x0000
    job = server.finished_job(str(dataset.StudyInstanceUID))
    assert (job["state"], job["error"]) == ("done", "")
    out = server.folder.parent / "out"
    paths = [
        path
        for path in out.rglob("*.dcm")
        if dcmread(path, stop_before_pixels=True).StudyInstanceUID == dataset.StudyInstanceUID
    ]
    validation = validate_with_tools(paths, [source])
    assert {"dciodvfy", "dcentvfy", "dsrdump"} <= set(validation.tools)
    assert validation.problems == ()
    found = {str(dcmread(path).SOPClassUID): dcmread(path) for path in paths}
    COLLECTION.add(paths, [source])  # where the templates are looked at, too
    return found


def said(report: Dataset) -> dict[str, float]:
    """Read the probability of each class, in percent, by the meaning of its code."""
    found = {}

    def walk(item: Dataset) -> None:
        for child in item.get("ContentSequence") or ():
            name = child.get("ConceptNameCodeSequence")
            if name and name[0].CodeValue == "122157":
                of = child.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning
                found[str(of)] = float(child.MeasuredValueSequence[0].NumericValue)
            walk(child)

    walk(report)
    return found


def page_of(server: ServerProcess, dataset: Dataset) -> str:
    page = httpx.get(f"{server.url}/studies/{dataset.StudyInstanceUID}")
    assert page.status_code == 200
    return re.sub(r"\s+", " ", page.text)


def test_a_slice_of_an_mri_comes_back_as_a_report_of_classes(
    server: ServerProcess, tmp_path: Path
) -> None:
    image = make_picture(5, PictureKind.BRAIN_MRI, rows=64, columns=80)

    made = objects_of(server, image, tmp_path / "mr.dcm")

    report = made[Comprehensive3DSRStorage]
    shares = said(report)
    assert set(shares) == {"Glioma", "meningioma", "pituitary", "notumor"}
    assert sum(shares.values()) == pytest.approx(100, abs=0.1)
    assert SegmentationStorage not in made
    text = str(report)
    assert "Magnetic Resonance" in text and "Brain" in text and "Breast" not in text
    page = page_of(server, image)
    assert "MR 1" in page and "glioma" in page and "called" in page
    assert "Probability of malignancy" not in page


def test_a_photograph_of_tissue_comes_back_as_classes_and_segments(
    server: ServerProcess, tmp_path: Path
) -> None:
    image = make_picture(6, PictureKind.MICROSCOPY, rows=60, columns=90)

    made = objects_of(server, image, tmp_path / "gm.dcm")

    seg = made[SegmentationStorage]
    labels = [str(item.SegmentLabel) for item in seg.SegmentSequence]
    assert labels and set(labels) <= {"tumour", "stroma", "necrosis"}
    assert (seg.Rows, seg.Columns) == (60, 90)
    assert set(said(made[Comprehensive3DSRStorage])) == {"benign", "malignant"}
    page = page_of(server, image)
    assert all(label in page for label in labels) and "of the picture" in page


def test_a_secondary_capture_goes_by_its_body_part_to_another_model(
    server: ServerProcess, tmp_path: Path
) -> None:
    image = make_picture(7, PictureKind.CAPTURE, rows=60, columns=60, body_part="LYMPHNODE")

    made = objects_of(server, image, tmp_path / "sc.dcm")

    assert set(said(made[Comprehensive3DSRStorage])) == {"normal", "Neoplasm"}
    assert SegmentationStorage not in made


def test_mammograms_beside_them_are_read_as_ever(server: ServerProcess, tmp_path: Path) -> None:
    image = make_study(3, rows=256, columns=208)[0].dataset

    made = objects_of(server, image, tmp_path / "mg.dcm")

    assert said(made[Comprehensive3DSRStorage]) == {}
    assert "Probability of malignancy" in page_of(server, image)


def test_the_tester_says_which_model_reads_which_picture(
    server: ServerProcess, tmp_path: Path
) -> None:
    path = tmp_path / "mr.dcm"
    make_picture(5, PictureKind.BRAIN_MRI, rows=64, columns=80).save_as(
        path, enforce_file_format=True
    )

    ran = CliRunner().invoke(app, ["route", str(path), "--config", str(server.config), "--json"])

    verdicts = {item["model"]: item for item in json.loads(ran.stdout)}
    assert [name for name, item in verdicts.items() if item["runs"]] == ["brain-class"]
    assert verdicts["tiny-classify"]["reason"] == "not-mammography"
    assert verdicts["breast-class"]["reason"] == "model-modality"
