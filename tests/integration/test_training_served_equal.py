"""One DICOM file gives the same answer where models are trained and where they serve."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ImageResult, ModelTask
from oncopixel_pacs.imaging.header import read_image_facts
from oncopixel_pacs.infer.bundle import load_unprobed
from oncopixel_pacs.infer.loaded_models import load_models
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage, read_study
from oncopixel_pacs.route import why_not
from oncopixel_pacs.settings import InferenceSettings, ModelSettings
from sample_dicom.pictures import PictureKind, make_picture
from sample_dicom.study import make_study
from tests.bundle_builder import write_bundle
from tests.picture_builders import BRAIN, write_picture_bundle
from training.datasets.dicom_folder import read_dicom_folder
from training.inputs import prepare_example
from training.recipe import DataPart

TOLERANCE = 1e-4


def trained(model: ModelSettings, dataset: Dataset, folder: Path, data: DataPart) -> torch.Tensor:
    """Logits on the side of training: reader of a folder, preparation, network."""
    folder.mkdir()
    dataset.save_as(folder / "image.dcm", enforce_file_format=True)
    (folder / "labels.csv").write_text("file,label\nimage.dcm,benign\n")
    (example,) = read_dicom_folder(folder)
    image = torch.from_numpy(prepare_example(example, data).image)[None]
    with torch.inference_mode():
        return load_unprobed(model, torch.device("cpu"))(image)


def served(model: ModelSettings, dataset: Dataset, folder: Path) -> ImageResult:
    """Answer of the server for the file that training read."""
    facts = read_image_facts(dataset)
    image = RequestedImage(facts, folder / "image.dcm", why_not(facts))
    request = AnalysisRequest(facts.study_instance_uid, 1, (image,), folder / "labels")
    (result,) = read_study(
        request, load_models([model], InferenceSettings(device="cpu", threads=1))
    ).images
    return result


def test_a_mammogram(tmp_path: Path) -> None:
    model = write_bundle(tmp_path / "model", ModelTask.CLASSIFY)
    image = make_study(11, rows=512, columns=416)[0].dataset
    data = DataPart(
        sets=("dicom_folder",), reading="breast", size=(64, 32), classes=("benign", "malignant")
    )

    logits = trained(model, image, tmp_path / "data", data)
    result = served(model, image, tmp_path / "data")

    assert result.probability == pytest.approx(float(logits.sigmoid()), abs=TOLERANCE)


@pytest.mark.parametrize(
    ("kind", "reading"),
    [(PictureKind.BRAIN_MRI, "grey"), (PictureKind.MICROSCOPY, "colour")],
)
def test_another_picture(tmp_path: Path, kind: PictureKind, reading: str) -> None:
    channels = 1 if reading == "grey" else 3
    model = write_picture_bundle(
        tmp_path / "model", BRAIN, channels=channels, modalities=["MR", "GM"]
    )
    image = make_picture(12, kind, rows=70, columns=110)
    data = DataPart.model_validate(
        {"sets": ("dicom_folder",), "reading": reading, "size": (32, 48), "classes": BRAIN}
    )

    logits = trained(model, image, tmp_path / "data", data)
    result = served(model, image, tmp_path / "data")

    assert result.picture is not None
    answers = np.array([item.probability for item in result.picture.classes])
    assert np.abs(answers - logits.softmax(dim=1).numpy()[0]).max() < TOLERANCE
