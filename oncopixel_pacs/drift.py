"""Whether what is read now looks like what was read before: scores, and the mix of views.

Population stability index (PSI) and the two-sample Kolmogorov-Smirnov test, each between the
first studies of a sender and its latest ones. A PSI of ten bins fires without any drift in
four of five windows of 50 studies and in none of 400, so fewer than `LEAST` are not judged.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

#: Studies at the beginning that stand for how it should be, at most.
REFERENCE = 1000
#: Latest studies that are compared with them, at most.
WINDOW = 400
#: Fewer in either are not judged.
LEAST = 200
#: PSI above which one should look, and above which the populations differ.
LOOK, DIFFERENT = 0.1, 0.25
_BINS = 10
Item = TypeVar("Item")
#: Instead of an empty bin; the index would be infinite.
_FLOOR = 1e-4


class Verdict(StrEnum):
    """What a comparison says."""

    TOO_FEW = "too-few"
    STABLE = "stable"
    LOOK = "look"
    DRIFT = "drift"


@dataclass(frozen=True, slots=True)
class Drift:
    """One comparison of the latest studies with the first ones.

    Attributes
    ----------
    psi
        Population stability index; ``None`` when there are too few.
    ks, ks_p
        Kolmogorov-Smirnov statistic and its two-sided p value; ``None`` as well, and for what
        has no order.
    """

    reference: int
    window: int
    psi: float | None = None
    ks: float | None = None
    ks_p: float | None = None

    @property
    def verdict(self) -> Verdict:
        """What it says, by the PSI alone."""
        if self.psi is None:
            return Verdict.TOO_FEW
        if self.psi >= DIFFERENT:
            return Verdict.DRIFT
        return Verdict.LOOK if self.psi >= LOOK else Verdict.STABLE


def score_drift(scores: Sequence[float]) -> Drift:
    """Compare the latest scores with the first ones.

    Parameters
    ----------
    scores
        Probabilities of malignancy, one for each study, the oldest first.
    """
    first, latest = _split(scores)
    if len(first) < LEAST or len(latest) < LEAST:
        return Drift(len(first), len(latest))
    before, after = np.asarray(first, float), np.asarray(latest, float)
    # Bins that hold equally many of the reference; ends open.
    edges = np.unique(np.quantile(before, np.linspace(0, 1, _BINS + 1)[1:-1]))
    # Here, because it takes 50 MB, which a host that only receives does not need.
    from scipy import stats

    found = stats.ks_2samp(before, after)
    return Drift(
        reference=len(first),
        window=len(latest),
        psi=psi(_counts(before, edges), _counts(after, edges)),
        ks=float(found.statistic),
        ks_p=float(found.pvalue),
    )


def mix_drift(studies: Sequence[Iterable[str]]) -> Drift:
    """Compare which views the latest studies hold with those of the first ones.

    Parameters
    ----------
    studies
        Names of the views of each study, such as ``R CC``, the oldest study first.
    """
    first, latest = _split(studies)
    if len(first) < LEAST or len(latest) < LEAST:
        return Drift(len(first), len(latest))
    before = Counter(name for views in first for name in views)
    after = Counter(name for views in latest for name in views)
    names = sorted(before | after)
    return Drift(
        reference=len(first),
        window=len(latest),
        psi=psi(
            np.array([before[name] for name in names], float),
            np.array([after[name] for name in names], float),
        ),
    )


def psi(before: NDArray[np.float64], after: NDArray[np.float64]) -> float:
    """Compute the population stability index of counts over the same bins; 0 for equal shares."""
    if not before.sum() or not after.sum():
        return 0.0
    shares = [np.maximum(counts / counts.sum(), _FLOOR) for counts in (before, after)]
    return float(np.sum((shares[1] - shares[0]) * np.log(shares[1] / shares[0])))


def histogram(scores: Sequence[float], bins: int = 20) -> list[int]:
    """Count scores in bins of equal width from 0 to 1."""
    counts, _ = np.histogram(np.asarray(scores, float), bins=bins, range=(0.0, 1.0))
    return [int(count) for count in counts]


def _split(items: Sequence[Item]) -> tuple[Sequence[Item], Sequence[Item]]:
    """First items and latest ones; none is in both."""
    window = min(WINDOW, len(items) // 2)
    reference = min(REFERENCE, len(items) - window)
    return items[:reference], items[len(items) - window :]


def _counts(values: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.bincount(
        np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1
    ).astype(float)
