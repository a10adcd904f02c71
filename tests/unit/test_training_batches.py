"""Every step sees the sets by their shares, both classes, and crops that fit their labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from monai.utils.misc import set_determinism

from oncopixel_pacs.domain import ModelTask
from training.batches import (
    Crops,
    Images,
    draw_weights,
    malignant_share,
    training_batches,
    usable,
)
from training.datasets import DataSetFault, Split
from training.prepared import Sample
from training.task import Phase

CROPS = Phase(kind="crops", size=(64, 48), steps=5, batch=4, learning_rate=1e-3)
IMAGES = Phase(kind="images", size=(96, 64), steps=3, batch=2, learning_rate=1e-3)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    set_determinism(11)


def sample(source: str = "mias", *, lesion: bool = True, malignant: bool | None = True) -> Sample:
    breast = np.zeros((128, 96), dtype=bool)
    breast[8:120, :80] = True
    lesions = np.zeros_like(breast)
    lesions[60:70, 30:40] = lesion
    image = np.where(lesions, 0.9, 0.3).astype(np.float32) * breast
    return Sample(source, "a", "P1", Split.TRAIN, malignant, image, breast, lesions)


def test_sets_come_by_their_shares_and_classes_evenly_within() -> None:
    samples = [sample("mias")] + [sample("mias", lesion=False, malignant=False)] * 9
    samples += [sample("ddsm_mini")] * 3

    weights = np.array(draw_weights(samples, {"mias": 0.6, "ddsm_mini": 0.4}, by_lesion=False))

    assert weights[0] == pytest.approx(0.3)
    assert weights[1:10].sum() == pytest.approx(0.3)
    assert weights[10:].sum() == pytest.approx(0.4)


def test_a_set_without_share_is_never_drawn() -> None:
    assert draw_weights([sample("cdd_cesm")], {"mias": 1.0}, by_lesion=True) == [0.0]


def test_crops_have_the_size_and_a_mask_on_the_lesion() -> None:
    crops = Crops([sample()], CROPS.model_copy(update={"positive_share": 1.0}), ModelTask.SEGMENT)

    for _ in range(10):
        item = crops[0]
        assert item["image"].shape == item["label"].shape == (1, 64, 48)
        assert set(item["label"].unique().tolist()) <= {0.0, 1.0}
        inside = item["image"][item["label"] > 0]
        assert inside.mean() > item["image"][item["label"] == 0].mean()
        assert item["malignant"] == pytest.approx(min(float(item["label"].sum()) / 50, 1.0))


def test_a_mask_stays_on_the_lesion_where_crops_are_changed_further() -> None:
    phase = CROPS.model_copy(update={"positive_share": 1.0, "augmentation": "strong"})
    crops = Crops([sample()], phase, ModelTask.SEGMENT)

    brighter = []
    for _ in range(10):
        item = crops[0]
        assert item["image"].shape == item["label"].shape == (1, 64, 48)
        assert set(item["label"].unique().tolist()) <= {0.0, 1.0}
        # A hole that is cut into an image, which is black, may lie on the lesion.
        inside = item["image"][(item["label"] > 0) & (item["image"] > 0)]
        if inside.numel():
            brighter.append(bool(inside.mean() > item["image"][item["label"] == 0].mean()))
    assert all(brighter)
    assert len(brighter) >= 5


def test_a_benign_lesion_is_a_target_of_the_segmenter_and_none_of_the_classifier() -> None:
    benign = replace(sample(), malignant=False)
    phase = CROPS.model_copy(update={"positive_share": 1.0})

    assert any(Crops([benign], phase, ModelTask.SEGMENT)[0]["label"].any() for _ in range(5))
    assert not any(Crops([benign], phase, ModelTask.CLASSIFY)[0]["malignant"] for _ in range(5))


def test_crops_of_a_set_that_cannot_say_malignant_count_their_lesions() -> None:
    unknown = replace(sample("cdd_cesm"), malignant=None)
    phase = CROPS.model_copy(update={"positive_share": 1.0})

    assert any(Crops([unknown], phase, ModelTask.CLASSIFY)[0]["malignant"] for _ in range(5))


def test_a_sliver_of_a_lesion_is_little_evidence_and_half_of_it_is_all() -> None:
    crop = torch.zeros(1, 64, 48)
    crop[0, 0, :10] = 1.0

    assert malignant_share(crop, lesion_px=200) == pytest.approx(0.1)
    assert malignant_share(crop, lesion_px=20) == 1.0
    assert malignant_share(torch.zeros(1, 64, 48), lesion_px=0) == 0.0
    assert malignant_share(torch.ones(1, 64, 48), lesion_px=100_000) == 1.0


def test_images_that_cannot_train_are_left_out() -> None:
    placeless = replace(sample(), lesions=None)
    labelless = replace(sample("cdd_cesm"), malignant=None)

    assert usable([placeless, labelless], "crops", ModelTask.CLASSIFY) == [labelless]
    assert usable([placeless, labelless], "images", ModelTask.SEGMENT) == [labelless]
    assert usable([placeless, labelless], "images", ModelTask.CLASSIFY) == [placeless]


def test_a_phase_has_exactly_its_steps() -> None:
    batches = training_batches(
        [sample(), sample(lesion=False, malignant=False)],
        {"mias": 1.0},
        IMAGES,
        ModelTask.CLASSIFY,
        workers=0,
        seed=1,
    )

    found = list(batches)

    assert len(found) == IMAGES.steps
    assert all(batch["image"].shape == (2, 1, 128, 96) for batch in found)


def test_a_segmenters_images_keep_their_size_and_are_padded_to_the_largest() -> None:
    small = sample()
    large = replace(
        small,
        image=np.pad(small.image, ((0, 32), (0, 0))),
        breast=np.pad(small.breast, ((0, 32), (0, 0))),
        lesions=None if small.lesions is None else np.pad(small.lesions, ((0, 32), (0, 0))),
    )
    phase = IMAGES.model_copy(update={"steps": 8, "batch": 3})

    batches = list(
        training_batches([small, large], {"mias": 1.0}, phase, ModelTask.SEGMENT, workers=0, seed=1)
    )

    shapes = {tuple(batch["image"].shape) for batch in batches}
    assert shapes <= {(3, 1, 128, 96), (3, 1, 160, 96)} and (3, 1, 160, 96) in shapes
    assert all(batch["label"].shape == batch["image"].shape for batch in batches)


def test_the_same_seed_draws_the_same_batches() -> None:
    def first() -> torch.Tensor:
        set_determinism(3)
        batches = training_batches(
            [sample()] * 3, {"mias": 1.0}, CROPS, ModelTask.SEGMENT, workers=0, seed=1
        )
        image: torch.Tensor = next(iter(batches))["image"]
        return image

    assert torch.equal(first(), first())


def test_whole_images_for_validation_are_left_as_they_are() -> None:
    one = sample()

    item = Images([one], ModelTask.SEGMENT, augment=False)[0]

    assert np.array_equal(item["image"][0].numpy(), one.image)
    assert one.lesions is not None
    assert np.array_equal(item["label"][0].numpy() > 0, one.lesions)


@pytest.mark.parametrize(
    ("malignant", "placed", "any_mask", "located"),
    [(True, True, True, 1.0), (True, False, False, 0.0), (False, True, False, 1.0)],
)
def test_a_classifier_seeks_malignant_lesions_where_their_places_are_known(
    malignant: bool, placed: bool, any_mask: bool, located: float
) -> None:
    one = replace(sample(malignant=malignant), lesions=sample().lesions if placed else None)

    item = Images([one], ModelTask.CLASSIFY, augment=False)[0]

    assert bool(item["label"].any()) is any_mask
    assert float(item["located"]) == located


def test_nothing_to_draw_from_is_a_sentence() -> None:
    with pytest.raises(DataSetFault, match="No training image is left"):
        training_batches(
            [sample("cdd_cesm")], {"mias": 1.0}, CROPS, ModelTask.SEGMENT, workers=0, seed=1
        )
