"""Thresholds are chosen so that phantoms come out right first, real images best after that."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from training.batches import lesions_of
from training.datasets import Split
from training.figures import (
    classifier_figures,
    findings_in,
    segmenter_figures,
    segmenter_outcome,
    union,
)
from training.metrics import dice
from training.operating_point import classifier_threshold, segmenter_thresholds
from training.predict import Classified, Segmented
from training.prepared import Sample


def segmented(
    peak: float, *, lesion: bool, elsewhere: float = 0.0, patient: str = "P1"
) -> Segmented:
    shape = (96, 96)
    lesions = np.zeros(shape, dtype=bool)
    lesions[40:52, 40:52] = lesion
    probability = np.zeros(shape, dtype=np.float32)
    probability[40:52, 40:52] = peak
    probability[10:22, 10:22] = elsewhere
    image = np.random.default_rng(0).random(shape, dtype=np.float32)
    sample = Sample(
        "phantoms", "a", patient, Split.VAL, lesion, image, np.ones(shape, bool), lesions
    )
    return Segmented(sample, probability)


def classified(score: float, malignant: bool, patient: str = "P1") -> Classified:
    return Classified(segmented(0.0, lesion=malignant, patient=patient).sample, score)


def test_the_threshold_lies_between_false_and_true_regions() -> None:
    phantoms = [segmented(0.9, lesion=True), segmented(0.0, lesion=False, elsewhere=0.4)]

    threshold, outline = segmenter_thresholds(phantoms, {})

    assert 0.4 < threshold <= 0.9 and outline is None


def test_among_safe_thresholds_the_best_on_real_images_is_taken() -> None:
    phantoms = [segmented(0.9, lesion=True), segmented(0.0, lesion=False, elsewhere=0.3)]
    real = {"mias": [segmented(0.8, lesion=True, elsewhere=0.6)]}

    threshold, outline = segmenter_thresholds(phantoms, real)

    assert 0.6 < threshold <= 0.8 and outline is None


def test_phantoms_come_first() -> None:
    phantoms = [segmented(0.9, lesion=True), segmented(0.0, lesion=False, elsewhere=0.68)]
    real = {"mias": [segmented(0.5, lesion=True)]}

    assert segmenter_thresholds(phantoms, real)[0] > 0.68


def around(found: Segmented, value: float) -> Segmented:
    """Give the same with a faint rim of the lesion; the lesion is rim and core."""
    probability = found.probability.copy()
    rim = np.zeros(probability.shape, dtype=bool)
    rim[34:58, 34:58] = True
    probability[rim] = np.maximum(probability[rim], value)
    return Segmented(replace(found.sample, lesions=rim), probability)


def test_findings_are_outlined_lower_where_that_is_as_safe_and_outlines_better() -> None:
    phantoms = [segmented(0.9, lesion=True), segmented(0.0, lesion=False, elsewhere=0.68)]
    real = {"mias": [around(segmented(0.9, lesion=True), 0.6)]}

    threshold, outline = segmenter_thresholds(phantoms, real)

    assert threshold > 0.68 and outline is not None
    assert threshold - 0.3 <= outline + 1e-9 and outline <= 0.6


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), grain=st.floats(1, 4))
def test_no_pair_that_is_as_safe_outlines_better_by_the_findings_themselves(
    seed: int, grain: float
) -> None:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random((96, 96)), grain)
    probability = ((noise - noise.min()) / np.ptp(noise)).astype(np.float32)
    found = Segmented(segmented(0.0, lesion=True).sample, probability)

    threshold, outline = segmenter_thresholds([], {"mias": [found]})

    def overlap(cut: float, low: float | None) -> float:
        return dice(
            union(findings_in(probability, cut, low), probability.shape), lesions_of(found.sample)
        )

    best = overlap(threshold, outline)
    for cut in (0.3, 0.44, 0.6, 0.76, 0.9):
        for below in (0.0, 0.1, 0.2, 0.3):
            low = round(cut - below, 2)
            assert low < 0.1 or overlap(cut, low) <= best + 1e-9


def test_the_classifiers_threshold_separates_what_can_be_separated() -> None:
    scored = {"mias": [classified(0.2, False), classified(0.3, False), classified(0.7, True)]}

    assert 0.3 < classifier_threshold(scored) <= 0.7


def test_small_regions_are_no_findings() -> None:
    probability = np.zeros((50, 50), dtype=np.float32)
    probability[5:10, 5:10] = 0.9
    probability[20:30, 20:30] = 0.9

    mask = union(findings_in(probability, 0.5), probability.shape)

    assert mask.sum() == 100 and mask[25, 25]


def test_an_image_is_scored_at_the_operating_point() -> None:
    outcome = segmenter_outcome(segmented(0.9, lesion=True, elsewhere=0.6), "mias val", 0.5)

    assert outcome.found and outcome.findings == 2 and outcome.positive
    assert outcome.dice == pytest.approx(2 / 3)
    assert outcome.score == pytest.approx(0.9)


def test_patients_count_as_found_when_every_lesion_image_is() -> None:
    items = [
        segmented(0.9, lesion=True, patient="A"),
        segmented(0.1, lesion=True, patient="A"),
        segmented(0.9, lesion=True, patient="B"),
        segmented(0.0, lesion=False, patient="C"),
        segmented(0.0, lesion=False, elsewhere=0.9, patient="D"),
    ]

    values = {
        figure.name: figure.estimate.value
        for figure in segmenter_figures(items, "mias val", 0.5, draws=10)
    }

    assert values["lesion images with the centre inside a finding"] == pytest.approx(2 / 3)
    assert values["patients with it inside in every lesion image"] == 0.5
    assert values["lesion-free patients without any finding"] == 0.5
    assert values["share of these with Dice zero"] == pytest.approx(1 / 3)


def test_a_classifier_is_scored_by_auc_and_at_its_operating_point() -> None:
    items = [
        classified(0.9, True, "A"),
        classified(0.4, True, "B"),
        classified(0.5, False, "C"),
        classified(0.1, False, "D"),
    ]

    values = {
        figure.name: figure.estimate.value
        for figure in classifier_figures(items, "mias val", 0.45, draws=10)
    }

    assert values == {
        "AUC, malignant against all others": 0.75,
        "sensitivity at the operating point": 0.5,
        "specificity at the operating point": 0.5,
    }
