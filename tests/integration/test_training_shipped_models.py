"""The models that ship are small, pinned, accepted, and do what their cards promise."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from scipy import ndimage

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.imaging.mammogram import Mammogram, read_mammogram
from oncopixel_pacs.imaging.preprocess import Preprocessing, prepare
from oncopixel_pacs.infer.findings import Naming, find_lesions
from oncopixel_pacs.infer.loaded_models import LoadedModels, load_models
from oncopixel_pacs.settings import BUNDLES, InferenceSettings, ModelSettings, shipped_models
from sample_dicom.study import SampleImage, make_study
from tests.exported_bundle import read_whole_bundle
from training.bundle_files import Bundle, prove_golden

SEEDS = range(10)
Read = Callable[[SampleImage], tuple[float, np.ndarray]]


@pytest.fixture(scope="module")
def models() -> LoadedModels:
    return load_models(shipped_models(), InferenceSettings(device="cpu"))


@pytest.fixture(scope="module")
def read(models: LoadedModels, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """From a sample image to its probability of malignancy and the label map of its findings."""
    path = tmp_path_factory.mktemp("sample") / "image.dcm"

    def _read(image: SampleImage) -> tuple[float, np.ndarray]:
        assert models.classifier and models.segmenter
        image.dataset.save_as(path, enforce_file_format=True)
        mammogram = read_mammogram(path)
        spacing_mm = mammogram.facts.spacing_mm
        assert spacing_mm is not None
        prepared = prepare(mammogram.pixels, spacing_mm)
        (score,) = models.classifier.probabilities(prepared.image[None])
        (probability,) = models.segmenter.probabilities(prepared.image[None])
        _, labels = find_lesions(
            probability,
            prepared.breast,
            prepared.geometry,
            threshold=models.segmenter.algorithm.threshold,
            outline_threshold=models.segmenter.algorithm.outline_threshold,
            pixel_size_mm=models.segmenter.card.pixel_size_mm,
            spacing_mm=spacing_mm,
            naming=Naming(mammogram.facts.name, str),
        )
        return float(score), labels

    return _read


def test_there_is_one_model_per_task_and_the_server_loads_both(models: LoadedModels) -> None:
    assert models.classifier is not None and models.segmenter is not None
    assert {algorithm.task for algorithm in models.algorithms} == set(ModelTask)
    assert {a.preprocessing_sha256 for a in models.algorithms} == {Preprocessing().digest()}


def test_the_weights_are_small() -> None:
    weights = [model.bundle / "models" / "model.pt" for model in shipped_models()]
    assert sum(path.stat().st_size for path in weights) < 15_000_000


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_a_bundle_has_a_card_that_names_its_weights_and_warns(model: ModelSettings) -> None:
    card = (model.bundle / "docs" / "README.md").read_text("utf-8")
    metadata = json.loads((model.bundle / "configs" / "metadata.json").read_text("utf-8"))

    assert model.sha256 in card
    for subset in ("mias val", "ddsm_mini val", "phantoms test"):
        assert subset in card
    assert "Research use only" in card and "research only" in card
    assert metadata["name"] == model.name
    assert (model.bundle / "docs" / "license.txt").is_file()


def test_no_bundle_holds_an_expression() -> None:
    for path in Path(BUNDLES).rglob("*.json"):
        assert '"$' not in path.read_text("utf-8"), path


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_a_shipped_bundle_is_complete_and_its_weights_lie_twice(model: ModelSettings) -> None:
    metadata = read_whole_bundle(model)
    calibrated = "platt" if model.task is ModelTask.CLASSIFY else "none"
    assert metadata["calibration"]["kind"] == calibrated


def written(image: SampleImage, path: Path) -> Mammogram:
    """Give the image as the server reads it, from a file."""
    image.dataset.save_as(path, enforce_file_format=True)
    return read_mammogram(path)


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_a_shipped_model_answers_a_file_as_it_did_when_it_was_trained(
    model: ModelSettings, models: LoadedModels, tmp_path: Path
) -> None:
    """From the DICOM file on; the bundle's golden answer is of the network in training."""
    metadata = json.loads((model.bundle / "configs" / "metadata.json").read_text("utf-8"))
    pinned = Bundle(model.name, model.task, model.bundle, model.sha256, model.threshold)
    assert prove_golden(pinned) < 1e-4
    golden = load_file(model.bundle / "golden" / "golden.safetensors")
    shown = metadata["golden"]["phantom"]
    mammogram = next(
        found
        for image in make_study(shown["seed"], lesion=shown["diseased"])
        if (found := written(image, tmp_path / "image.dcm")).facts.laterality == shown["laterality"]
        and found.facts.view == shown["view"]
    )
    assert mammogram.facts.spacing_mm is not None

    prepared = prepare(mammogram.pixels, mammogram.facts.spacing_mm)
    (loaded,) = (item for item in models.models if item.algorithm.name == model.name)
    served = loaded.probabilities(prepared.image[None])

    # Of another processor a few pixels of the phantom are rounded to the next grey value.
    assert np.abs(prepared.image[None] - golden["image"].numpy()).max() < 1e-3
    trained = golden["logits"].sigmoid()[:, 0].numpy()
    if model.task is ModelTask.CLASSIFY:
        trained = loaded.card.calibrator.binary(trained.astype(np.float64))
    assert np.abs(served - trained).max() < 1e-4


@pytest.mark.slow
def test_inserted_lesions_are_found_and_score_above_healthy_breasts(read: Read) -> None:
    found, above = [], []
    for seed in SEEDS:
        scores: dict[bool, list[float]] = {True: [], False: []}
        inside = []
        for image in make_study(seed):
            score, labels = read(image)
            diseased = bool(image.lesion_mask.any())
            scores[diseased].append(score)
            if diseased:
                row, column = ndimage.center_of_mass(image.lesion_mask)
                inside.append(labels[round(row), round(column)] > 0)
        found.append(all(inside))
        above.append(np.mean(scores[True]) > np.mean(scores[False]))

    assert sum(found) >= 9
    assert sum(above) >= 9


@pytest.mark.slow
def test_a_study_without_lesion_gives_no_finding(read: Read) -> None:
    clean = [
        not any(read(image)[1].any() for image in make_study(seed, lesion=False)) for seed in SEEDS
    ]

    assert sum(clean) >= 8
