"""The figures in the model cards are those that independent implementations give."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.metrics import compute_dice, compute_froc_curve_data, compute_froc_score
from sklearn.metrics import roc_auc_score
from torch import from_numpy

from training.metrics import (
    FALSE_POSITIVE_RATES,
    Marks,
    auc,
    auc_with_interval,
    bootstrap,
    dice,
    froc_curve,
    mean_with_interval,
    sensitivity_at,
    sensitivity_with_interval,
)

scored_labels = st.lists(
    st.tuples(st.integers(0, 8).map(lambda n: n / 8), st.booleans()), min_size=2, max_size=60
)


@given(scored_labels)
@settings(deadline=None)
def test_auc_is_scikit_learns_with_ties(pairs: list[tuple[float, bool]]) -> None:
    scores = np.array([score for score, _ in pairs])
    positive = np.array([label for _, label in pairs])

    if positive.all() or not positive.any():
        assert np.isnan(auc(scores, positive))
    else:
        assert auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=20, deadline=None)
def test_dice_is_monais(seed: int) -> None:
    generator = np.random.default_rng(seed)
    found, truth = generator.random((2, 9, 7)) < 0.4

    theirs = compute_dice(
        from_numpy(found[None, None].copy()),
        from_numpy(truth[None, None].copy()),
        ignore_empty=False,
    )

    assert dice(found, truth) == pytest.approx(float(theirs))


def test_two_empty_masks_agree() -> None:
    nothing = np.zeros((4, 4), dtype=bool)
    assert dice(nothing, nothing) == 1.0


def _draw_marks(generator: np.random.Generator, images: int) -> list[Marks]:
    return [
        Marks(
            tuple(generator.random(generator.integers(0, 3))),
            tuple(generator.random(generator.integers(0, 6))),
        )
        for _ in range(images)
    ]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_froc_is_monais(seed: int) -> None:
    marks = _draw_marks(np.random.default_rng(seed), images=12)
    hits = np.array([score for mark in marks for score in mark.hits])
    false = np.array([score for mark in marks for score in mark.false])
    if hits.size < 2 or false.size < 2:
        return
    # MONAI has one point per step of the threshold and none at the very lowest score.
    their_rates, their_found = compute_froc_curve_data(
        false, hits, num_targets=hits.size, num_images=len(marks)
    )

    rates, found = froc_curve(marks)

    ours = set(zip(np.round(rates, 9), np.round(found, 9), strict=True))
    theirs = set(zip(np.round(their_rates, 9), np.round(their_found, 9), strict=True))
    assert theirs <= ours | {(0.0, 0.0)}


def test_the_mean_sensitivity_is_near_monais_interpolated_score() -> None:
    marks = _draw_marks(np.random.default_rng(7), images=400)
    hits = np.array([score for mark in marks for score in mark.hits])
    false = np.array([score for mark in marks for score in mark.false])
    curve = compute_froc_curve_data(false, hits, num_targets=hits.size, num_images=len(marks))

    ours = np.mean([sensitivity_at(marks, rate) for rate in (0.25, 0.5, 1, 2)])

    assert ours == pytest.approx(compute_froc_score(*curve, (0.25, 0.5, 1, 2)), abs=0.01)


def test_sensitivity_counts_each_lesion_once_and_every_other_mark_as_false() -> None:
    marks = [Marks(hits=(0.9, 0.3), false=(0.5,)), Marks(hits=(), false=(0.7, 0.2))]

    assert sensitivity_at(marks, 0.0) == 0.5
    assert sensitivity_at(marks, 1.0) == 1.0
    assert sensitivity_at(marks, 0.5) == 0.5


def test_a_lesion_without_a_mark_is_never_found() -> None:
    marks = [Marks(hits=(-np.inf, 0.1), false=())]
    assert sensitivity_at(marks, max(FALSE_POSITIVE_RATES)) == 0.5


def test_sensitivity_without_lesions_is_not_defined() -> None:
    assert np.isnan(sensitivity_at([Marks((), (0.3,))], 1.0))


def test_the_interval_draws_patients_and_not_images() -> None:
    values = np.repeat([0.0, 1.0], 50)

    as_two_patients = mean_with_interval(values, ["a"] * 50 + ["b"] * 50, draws=400)
    as_hundred = mean_with_interval(values, [str(i) for i in range(100)], draws=400)

    assert (as_two_patients.low, as_two_patients.high) == (0.0, 1.0)
    assert as_two_patients.patients == 2
    assert 0.3 < as_hundred.low < as_hundred.value < as_hundred.high < 0.7


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        estimate = mean_with_interval(
            generator.normal(size=40), [str(i) for i in range(40)], draws=300
        )
        covered += estimate.low <= 0.0 <= estimate.high
    assert 85 <= covered <= 100


def test_a_figure_that_is_not_defined_says_so() -> None:
    estimate = auc_with_interval(np.array([0.1, 0.2]), np.array([True, True]), ["a", "b"])

    assert str(estimate) == "not defined"
    assert np.isnan(estimate.low)


def test_draws_without_a_defined_figure_are_left_out() -> None:
    positive = np.array([True, False, False])
    scores = np.array([0.9, 0.1, 0.2])

    estimate = auc_with_interval(scores, positive, ["a", "b", "c"], draws=200)

    assert (estimate.value, estimate.low, estimate.high) == (1.0, 1.0, 1.0)


def test_the_same_seed_gives_the_same_interval() -> None:
    marks = _draw_marks(np.random.default_rng(1), images=20)
    patients = [str(i // 2) for i in range(20)]

    once = sensitivity_with_interval(marks, patients, 1.0, draws=200)

    assert once == sensitivity_with_interval(marks, patients, 1.0, draws=200)
    assert once.low < once.high


def test_no_images_give_no_figure() -> None:
    assert np.isnan(bootstrap(lambda index: float("nan"), []).value)
