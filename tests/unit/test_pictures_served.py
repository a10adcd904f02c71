"""Models of other pictures than mammograms: cards, choice, and what is made of an answer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ModelTask, Reason, StudyResult, Subject
from oncopixel_pacs.domain.model_choice import Candidate, RoutedImage, choose, verdicts
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.errors import ModelRefused
from oncopixel_pacs.imaging.header import read_image_facts
from oncopixel_pacs.imaging.picture import read_picture
from oncopixel_pacs.infer.cards import read_algorithms, read_card
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.infer.loaded_models import LoadedModels, load_models
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage, read_study
from oncopixel_pacs.route import why_not
from oncopixel_pacs.settings import InferenceSettings, ModelSettings
from sample_dicom.pictures import PictureKind, make_picture
from tests.builders import make_facts
from tests.picture_builders import BRAIN, BRAIN_SITE, picture_metadata, write_picture_bundle

TISSUES = ("tumour", "stroma", "necrosis", "other")


def load(*models: ModelSettings) -> LoadedModels:
    return load_models(models, InferenceSettings(device="cpu"))


def saved(dataset: Dataset, folder: Path) -> Path:
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return path


def read(datasets: Sequence[Dataset], models: LoadedModels, folder: Path) -> StudyResult:
    images = []
    for dataset in datasets:
        facts = read_image_facts(dataset)
        images.append(RequestedImage(facts, saved(dataset, folder), why_not(facts)))
    uid = str(datasets[0].StudyInstanceUID)
    return read_study(AnalysisRequest(uid, 1, tuple(images), folder / "labels"), models)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"classes": [{"name": "one"}]}, "classes"),
        ({"classes": [{"name": "one"}, {"name": "one"}]}, "a name of its own"),
        ({"classes": [{"name": "a"}, {"name": "b"}, {"name": "c"}]}, "needs two classes"),
        ({"classes": [{"name": "a", "code": ["1", "sct", "A"]}, {"name": "b"}]}, "code"),
        ({"activation": "softmax"}, "its classes need 2"),
        ({"eligibility": {"modalities": []}}, "modalities"),
        ({"site": ["76752008", "SCT"]}, "site"),
        ({"unknown": 1}, "unknown"),
        ({"preprocessing_sha256": "0" * 64}, "was trained with preprocessing 000000000000"),
    ],
)
def test_a_card_that_does_not_fit_is_refused_in_words(
    tmp_path: Path, change: dict[str, Any], words: str
) -> None:
    model = write_picture_bundle(tmp_path / "model", ("benign", "malignant"))
    content = picture_metadata(("benign", "malignant"))
    content["oncopixel"] |= change
    (model.bundle / "configs" / "metadata.json").write_text(json.dumps(content))

    with pytest.raises(ModelRefused, match=words):
        read_algorithms([model])


def test_a_class_without_a_code_gets_one_of_our_scheme(tmp_path: Path) -> None:
    card = read_card(write_picture_bundle(tmp_path / "model", BRAIN, site=BRAIN_SITE))

    schemes = {item.name: item.concept.scheme for item in card.classes}
    assert schemes["glioma"] == "SCT" and schemes["meningioma"] == "99ONCOPIXEL"
    assert all(len(item.concept.value) <= 16 for item in card.classes)
    assert [item.name for item in card.classes if item.absence] == ["notumor"]


def test_calibration_moves_probabilities_and_not_the_call(tmp_path: Path) -> None:
    calibration = {"kind": "temperature", "slope": 4.0, "shift": 0.0}
    plain = load(write_picture_bundle(tmp_path / "plain", BRAIN))
    sharp = load(write_picture_bundle(tmp_path / "sharp", BRAIN, calibration=calibration))
    image = make_picture(1, PictureKind.CAPTURE, rows=40, columns=50)

    answers = []
    for models in (plain, sharp):
        (item,) = read([image], models, tmp_path).images
        assert item.picture is not None
        answers.append(item.picture)

    raw, calibrated = ([item.probability for item in answer.classes] for answer in answers)
    wanted = np.power(raw, 4.0) / np.power(raw, 4.0).sum()
    assert calibrated == pytest.approx(wanted, abs=1e-6)
    assert answers[0].called == answers[1].called == BRAIN[int(np.argmax(raw))]


@pytest.mark.parametrize(("threshold", "called"), [(0.0, "malignant"), (1.0, "benign")])
def test_of_two_classes_the_operating_point_decides(
    tmp_path: Path, threshold: float, called: str
) -> None:
    model = write_picture_bundle(tmp_path / "m", ("benign", "malignant"), threshold=threshold)

    result = read([make_picture(1, PictureKind.CAPTURE)], load(model), tmp_path)

    assert result.images[0].picture is not None and result.images[0].picture.called == called
    assert (result.subject, result.probability, result.breasts) == (Subject.PICTURE, None, {})


def test_tissues_are_numbered_without_gaps_and_fill_their_label_map(tmp_path: Path) -> None:
    model = write_picture_bundle(tmp_path / "m", TISSUES, ModelTask.SEGMENT)
    image = make_picture(2, PictureKind.MICROSCOPY, rows=50, columns=70)

    (item,) = read([image], load(model), tmp_path).images

    assert item.picture is not None and item.picture.searched
    labels = read_label_map(tmp_path / "labels", item.facts.sop_instance_uid)
    assert labels is not None and labels.shape == (50, 70)
    shares = {tissue.number: tissue.share for tissue in item.picture.tissues}
    assert list(shares) == list(range(1, len(shares) + 1)) and "other" not in str(shares)
    assert shares == {number: float((labels == number).mean()) for number in shares}
    assert {tissue.area_mm2 for tissue in item.picture.tissues} == {None}


def test_an_area_needs_the_size_of_a_pixel(tmp_path: Path) -> None:
    model = write_picture_bundle(
        tmp_path / "m", TISSUES, ModelTask.SEGMENT, channels=1, modalities=["MR"]
    )
    image = make_picture(2, PictureKind.BRAIN_MRI, rows=50, columns=70)

    (item,) = read([image], load(model), tmp_path).images

    assert item.picture is not None
    for tissue in item.picture.tissues:
        assert tissue.area_mm2 == pytest.approx(tissue.share * 50 * 70 * 0.81)


def test_grey_and_colour_are_read_as_a_person_sees_them(tmp_path: Path) -> None:
    colour = make_picture(3, PictureKind.CAPTURE, rows=40, columns=30)
    grey = make_picture(3, PictureKind.BRAIN_MRI, rows=40, columns=30)
    inverse = make_picture(3, PictureKind.BRAIN_MRI, rows=40, columns=30, body_part="HEAD")
    inverse.PhotometricInterpretation = "MONOCHROME1"

    rgb, light, dark = (read_picture(saved(item, tmp_path)) for item in (colour, grey, inverse))

    stored = np.frombuffer(colour.PixelData, np.uint8).reshape(40, 30, 3)
    assert np.array_equal(np.rint(rgb.pixels.transpose(1, 2, 0) * 255).astype(np.uint8), stored)
    assert light.pixels.shape == dark.pixels.shape == (1, 40, 30)
    assert light.pixels == pytest.approx(1.0 - dark.pixels, abs=1e-6)


def test_what_cannot_be_decoded_says_so_and_the_others_go_on(tmp_path: Path) -> None:
    model = write_picture_bundle(tmp_path / "m", ("benign", "malignant"))
    good = make_picture(4, PictureKind.CAPTURE)
    bad = make_picture(4, PictureKind.CAPTURE, body_part="SKIN")
    bad.StudyInstanceUID = good.StudyInstanceUID
    bad.PixelData = bad.PixelData[:100]

    result = read([good, bad], load(model), tmp_path)

    reasons = {item.facts.body_part: item.reason for item in result.images}
    assert reasons == {"BREAST": None, "SKIN": Reason.UNREADABLE_PIXELS}


def test_a_study_is_read_as_mammograms_or_as_pictures() -> None:
    mammogram = Candidate("mammo", ModelTask.CLASSIFY)
    lesions = Candidate("lesions", ModelTask.SEGMENT)
    brain = Candidate(
        "brain",
        ModelTask.CLASSIFY,
        requirements=Requirements(modalities=("MR",)),
        subject=Subject.PICTURE,
    )
    models = (mammogram, lesions, brain)
    breast = RoutedImage(make_facts())
    facts = make_facts(modality="MR", laterality=None, view=None)
    slice_ = RoutedImage(facts, reason=why_not(facts))

    assert choose([breast], models) == (mammogram, lesions)
    assert choose([slice_], models) == (brain,)
    assert choose([slice_, breast], models) == (mammogram, lesions)
    (of_slice, _) = verdicts([slice_, breast], models)
    assert [item.reason for item in of_slice] == [
        Reason.NOT_MAMMOGRAPHY,
        Reason.NOT_MAMMOGRAPHY,
        Reason.ANOTHER_MODEL,
    ]


@pytest.mark.parametrize(
    ("flaw", "reason"),
    [
        ({"has_pixel_data": False}, Reason.NO_PIXEL_DATA),
        ({"frames": 9}, Reason.MULTI_FRAME),
        ({"quality_control": True}, Reason.QUALITY_CONTROL),
    ],
)
def test_what_is_no_single_picture_is_read_by_no_model(
    flaw: dict[str, Any], reason: Reason
) -> None:
    model = Candidate("any", ModelTask.CLASSIFY, subject=Subject.PICTURE)

    assert model.why_not(RoutedImage(make_facts(**flaw))) == (reason, "")
