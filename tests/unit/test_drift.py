"""Drift: nothing is said of few studies, nothing of chance, and what has moved is noticed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from oncopixel_pacs.drift import (
    LEAST,
    REFERENCE,
    WINDOW,
    Verdict,
    histogram,
    mix_drift,
    psi,
    score_drift,
)

FOUR = ("L CC", "L MLO", "R CC", "R MLO")


def scores(seed: int, number: int, shift: float = 0.0) -> list[float]:
    """Draw scores whose logits are normal, moved by `shift`."""
    logits = np.random.default_rng(seed).normal(-1 + shift, 1, number)
    return [float(value) for value in 1 / (1 + np.exp(-logits))]


def test_too_few_studies_are_not_judged() -> None:
    found = score_drift(scores(1, 2 * LEAST - 1))
    assert found.verdict is Verdict.TOO_FEW
    assert (found.psi, found.ks) == (None, None)


@pytest.mark.parametrize("seed", range(8))
def test_what_comes_from_one_population_is_stable(seed: int) -> None:
    found = score_drift(scores(seed, REFERENCE + WINDOW))
    assert (found.reference, found.window) == (REFERENCE, WINDOW)
    assert found.verdict is Verdict.STABLE
    assert found.ks_p is not None


@pytest.mark.parametrize("seed", range(8))
def test_scores_that_moved_are_noticed(seed: int) -> None:
    found = score_drift([*scores(seed, REFERENCE), *scores(seed + 100, WINDOW, shift=1.0)])
    assert found.verdict is Verdict.DRIFT
    assert found.ks_p is not None
    assert found.ks_p < 1e-6


def test_views_that_are_no_longer_sent_are_noticed() -> None:
    assert mix_drift([FOUR] * 800).verdict is Verdict.STABLE
    found = mix_drift([*[FOUR] * 600, *[FOUR[::2]] * 400])
    assert found.verdict is Verdict.DRIFT
    assert found.ks is None


def test_the_index_is_that_of_its_definition() -> None:
    before, after = np.array([50.0, 50.0]), np.array([25.0, 75.0])
    expected = (0.25 - 0.5) * np.log(0.25 / 0.5) + (0.75 - 0.5) * np.log(0.75 / 0.5)
    assert psi(before, after) == pytest.approx(expected)
    assert psi(before, after) == pytest.approx(
        stats.entropy([0.25, 0.75], [0.5, 0.5]) + stats.entropy([0.5, 0.5], [0.25, 0.75])
    )


counts = st.lists(st.integers(0, 1000), min_size=4, max_size=4).map(lambda n: np.array(n, float))


@given(counts, counts)
def test_the_index_is_never_negative_and_knows_no_order(
    before: np.ndarray, after: np.ndarray
) -> None:
    assert psi(before, after) >= 0
    assert psi(before, after) == pytest.approx(psi(after, before))
    assert psi(before, before) == 0


@given(st.lists(st.floats(0, 1), max_size=50))
def test_a_histogram_counts_every_score(values: list[float]) -> None:
    assert sum(histogram(values)) == len(values)
