"""The figures of a trained model per set, each beside a detector that learned nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from oncopixel_pacs.imaging.preprocess import Preprocessing
from oncopixel_pacs.infer.calibration import Calibrator
from oncopixel_pacs.infer.findings import MIN_AREA_MM2
from training.batches import lesions_of
from training.calibration import brier_score, calibration_error
from training.candidates import Component, blobness, components, judge, peaks
from training.metrics import (
    Estimate,
    Floats,
    Marks,
    auc_with_interval,
    bootstrap,
    dice,
    mean_with_interval,
    sensitivity_with_interval,
)
from training.predict import Classified, Segmented
from training.prepared import Sample

PIXEL_SIZE_MM = Preprocessing().pixel_size_mm
_Measure = Callable[[Floats, NDArray[np.intp]], float]
_BRIGHTEST_SHARE = 0.02
_RATES = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table of results.

    Attributes
    ----------
    subset
        Set and split, such as ``mias val``.
    baseline
        The same figure of the trivial detector (`candidates.blobness`), where there is one.
    """

    subset: str
    name: str
    estimate: Estimate
    baseline: Estimate | None = None


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """What a model made of one image, for paired comparisons.

    Attributes
    ----------
    score
        Classifier: its probability. Segmenter: the highest probability in the breast.
    dice
        At the operating point; ``None`` without lesion or for a classifier.
    found
        Whether the centre of every lesion lies inside a finding; ``None`` as for `dice`.
    findings
        Number of findings at the operating point; 0 for a classifier.
    """

    subset: str
    key: str
    patient: str
    positive: bool | None
    score: float
    dice: float | None
    found: bool | None
    findings: int


def blob_map(sample: Sample) -> NDArray[np.float32]:
    """Map of the trivial detector, ``(height, width)``."""
    return blobness(sample.image, sample.breast, PIXEL_SIZE_MM)


def findings_in(
    probability: NDArray[np.float32], threshold: float, outline_threshold: float | None = None
) -> list[Component]:
    """Find what the server would report in a map ``(height, width)``."""
    return components(probability, threshold, PIXEL_SIZE_MM, MIN_AREA_MM2, outline_threshold)


def union(regions: Sequence[Component], shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Pixels of all regions together."""
    mask = np.zeros(shape, dtype=np.bool_)
    for region in regions:
        mask |= region.mask
    return mask


def marks_of(sample: Sample, score: NDArray[np.float32]) -> Marks:
    """Mark the peaks of a score map; a mark has to lie inside an outline to hit it."""
    return judge(peaks(score, sample.breast, PIXEL_SIZE_MM), lesions_of(sample), PIXEL_SIZE_MM)


def segmenter_outcome(
    found: Segmented, subset: str, threshold: float, outline_threshold: float | None = None
) -> ImageOutcome:
    """Score one image at the operating point."""
    lesions = lesions_of(found.sample)
    regions = findings_in(found.probability, threshold, outline_threshold)
    mask = union(regions, lesions.shape)
    return ImageOutcome(
        subset=subset,
        key=found.sample.key,
        patient=found.sample.patient,
        positive=bool(lesions.any()),
        score=float(found.probability.max()),
        dice=dice(mask, lesions) if lesions.any() else None,
        found=centres_inside(lesions, mask) if lesions.any() else None,
        findings=len(regions),
    )


def segmenter_figures(
    found: Sequence[Segmented],
    subset: str,
    threshold: float,
    draws: int,
    outline_threshold: float | None = None,
) -> list[Figure]:
    """Sensitivity by false marks, Dice, and figures at the operating point, for one subset.

    Parameters
    ----------
    found
        Images whose lesion places are known, all of one subset.
    """
    patients = [item.sample.patient for item in found]
    marks = [marks_of(item.sample, item.probability) for item in found]
    blobs = [marks_of(item.sample, blob_map(item.sample)) for item in found]
    figures = [
        Figure(
            subset,
            f"lesion sensitivity at {rate:g} false marks per image",
            sensitivity_with_interval(marks, patients, rate, draws=draws),
            sensitivity_with_interval(blobs, patients, rate, draws=draws),
        )
        for rate in _RATES
    ]
    outcomes = [segmenter_outcome(item, subset, threshold, outline_threshold) for item in found]
    figures += _overlap_figures(found, outcomes, subset, draws)
    figures += _operating_figures(outcomes, subset, draws)
    return figures


def _overlap_figures(
    found: Sequence[Segmented], outcomes: Sequence[ImageOutcome], subset: str, draws: int
) -> list[Figure]:
    pairs = [
        (item, outcome.dice)
        for item, outcome in zip(found, outcomes, strict=True)
        if outcome.dice is not None
    ]
    patients = [item.sample.patient for item, _ in pairs]
    ours = np.array([value for _, value in pairs], dtype=np.float64)
    blobs = np.array([_blob_dice(item.sample) for item, _ in pairs], dtype=np.float64)

    def figure(name: str, values: Floats, baseline: Floats) -> Figure:
        return Figure(
            subset,
            name,
            mean_with_interval(values, patients, draws=draws),
            mean_with_interval(baseline, patients, draws=draws),
        )

    return [
        figure("Dice, images with a lesion", ours, blobs),
        figure(
            "share of these with Dice zero",
            (ours == 0).astype(np.float64),
            (blobs == 0).astype(np.float64),
        ),
    ]


def _operating_figures(outcomes: Sequence[ImageOutcome], subset: str, draws: int) -> list[Figure]:
    ill = {outcome.patient for outcome in outcomes if outcome.positive}
    groups: dict[str, list[tuple[float, str]]] = {
        "findings per image": [(float(item.findings), item.patient) for item in outcomes],
        "lesion images with the centre inside a finding": [
            (float(item.found), item.patient) for item in outcomes if item.found is not None
        ],
        "patients with it inside in every lesion image": _per_patient(
            [(bool(item.found), item.patient) for item in outcomes if item.found is not None]
        ),
        "lesion-free images without finding": [
            (float(item.findings == 0), item.patient) for item in outcomes if not item.positive
        ],
        "lesion-free patients without any finding": _per_patient(
            [(item.findings == 0, item.patient) for item in outcomes if item.patient not in ill]
        ),
    }
    return [
        Figure(
            subset,
            name,
            mean_with_interval(
                np.array([value for value, _ in pairs]), [who for _, who in pairs], draws=draws
            ),
        )
        for name, pairs in groups.items()
        if pairs
    ]


def _per_patient(pairs: Sequence[tuple[bool, str]]) -> list[tuple[float, str]]:
    """Whether it holds in every image of a patient."""
    holds: dict[str, bool] = {}
    for value, patient in pairs:
        holds[patient] = holds.get(patient, True) and value
    return [(float(value), patient) for patient, value in holds.items()]


def centres_inside(lesions: NDArray[np.bool_], mask: NDArray[np.bool_]) -> bool:
    """Whether the centroid of every lesion lies inside a mask of the same shape."""
    return all(bool(mask[centre]) for centre in lesion_centres(lesions))


def lesion_centres(lesions: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Pixel at the centroid of every lesion."""
    labels, count = ndimage.label(lesions, structure=np.ones((3, 3)))
    centres = ndimage.center_of_mass(lesions, labels, np.arange(1, count + 1))
    return [(round(row), round(column)) for row, column in centres]


def _blob_dice(sample: Sample) -> float:
    # The brightest 2 % of the breast: about the share that a lesion takes up.
    blobs = blob_map(sample)
    cut = np.quantile(blobs[sample.breast], 1.0 - _BRIGHTEST_SHARE)
    return dice((blobs >= cut) & sample.breast, lesions_of(sample))


def classifier_outcome(item: Classified, subset: str) -> ImageOutcome:
    """Score one image."""
    sample = item.sample
    return ImageOutcome(
        subset, sample.key, sample.patient, sample.malignant, item.probability, None, None, 0
    )


def classifier_figures(
    scored: Sequence[Classified], subset: str, threshold: float, draws: int
) -> list[Figure]:
    """AUC, sensitivity and specificity at the operating point, for one subset.

    Parameters
    ----------
    scored
        Images with a known label, all of one subset.
    """
    patients = [item.sample.patient for item in scored]
    positive = np.array([item.sample.malignant is True for item in scored])
    scores = np.array([item.probability for item in scored])
    blobs = np.array([float(blob_map(item.sample).max()) for item in scored])
    figures = [
        Figure(
            subset,
            "AUC, malignant against all others",
            auc_with_interval(scores, positive, patients, draws=draws),
            auc_with_interval(blobs, positive, patients, draws=draws),
        )
    ]
    called = scores >= threshold
    for name, group, right in (
        ("sensitivity at the operating point", positive, called),
        ("specificity at the operating point", ~positive, ~called),
    ):
        chosen = np.flatnonzero(group)
        figures.append(
            Figure(
                subset,
                name,
                mean_with_interval(
                    right[chosen].astype(np.float64), [patients[i] for i in chosen], draws=draws
                ),
            )
        )
    return figures


def calibration_figures(
    scored: Sequence[Classified], subset: str, calibrator: Calibrator, draws: int
) -> list[Figure]:
    """Brier score and calibration error of the calibrated probability; beside it the network's own.

    Parameters
    ----------
    scored
        Images with a known label, all of one subset.
    """
    patients = [item.sample.patient for item in scored]
    labels = np.array([item.sample.malignant is True for item in scored], dtype=np.intp)
    own = np.array([[1.0 - item.probability, item.probability] for item in scored])
    calibrated = calibrator(own)

    def estimate(measure: _Measure, probability: Floats) -> Estimate:
        return bootstrap(lambda i: measure(probability[i], labels[i]), patients, draws=draws)

    return [
        Figure(
            f"{subset}, calibration", name, estimate(measure, calibrated), estimate(measure, own)
        )
        for name, measure in (
            ("Brier score", brier_score),
            ("expected calibration error", calibration_error),
        )
    ]
