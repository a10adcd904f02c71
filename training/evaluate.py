"""Scoring a trained network per set, and comparing two of them on the same images."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.infer.calibration import Calibrator
from training.datasets import Split
from training.datasets.phantoms import SOURCE as PHANTOMS
from training.figures import (
    Figure,
    ImageOutcome,
    calibration_figures,
    classifier_figures,
    classifier_outcome,
    marks_of,
    segmenter_figures,
    segmenter_outcome,
)
from training.fit import load_fitted
from training.gather import gather
from training.metrics import DRAWS, Estimate, auc, bootstrap, froc_curve
from training.operating_point import (
    classifier_threshold,
    learn_calibration,
    segmenter_thresholds,
)
from training.plots import line_plot
from training.predict import Classified, Network, Segmented, classify, segment
from training.prepared import Sample
from training.task import Task

POOLED = "all film sets"

Scored = TypeVar("Scored", Classified, Segmented)


@dataclass(frozen=True, slots=True)
class Choice:
    """Operating point and calibration of a network, and by whom they were chosen.

    Attributes
    ----------
    threshold
        Operating point, on the network's own score.
    calibrator
        From the network's own score to a probability; nothing for a segmenter.
    made_on
        ``tune``: training patients set apart. ``out-of-fold``: the same, of another training of
        the same task. ``val``: where a task sets no patients apart.
    images, malignant
        How many real images the calibration rests on.
    outline_threshold
        Of a segmenter: lower probability down to which findings reach; ``None``: `threshold`.
    """

    threshold: float
    calibrator: Calibrator = Calibrator("none")
    made_on: str = Split.VAL.value
    images: int = 0
    malignant: int = 0
    outline_threshold: float | None = None

    @property
    def heading(self) -> str:
        """Thresholds in words, above a table of figures."""
        outline = self.outline_threshold
        reach = "" if outline is None else f", outlined at {outline}"
        return f"Operating point {self.threshold}{reach}"


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured of one trained network, at which operating point."""

    task: str
    choice: Choice
    figures: tuple[Figure, ...]
    outcomes: tuple[ImageOutcome, ...]


def evaluate(
    task: Task,
    checkpoint: Path,
    data: Path | None,
    out: Path,
    *,
    cache: Path | None = None,
    split: Split = Split.VAL,
    choice_of: Path | None = None,
    workers: int = 1,
    draws: int = DRAWS,
) -> Report:
    """Choose the operating point and the calibration, and score the network.

    Both are chosen by the ``tune`` patients that the task sets apart, or on ``val`` where it sets
    none apart. Real sets are scored on `split`; phantoms always on seeds used for nothing else.

    Parameters
    ----------
    out
        Folder for ``report.json``, ``images.csv`` and, for a segmenter, ``froc.svg``.
    choice_of
        Evaluated run of the same task with patients set apart, whose choice is taken over: the
        scores that it was made by are out of fold for this network too.

    Raises
    ------
    DataSetFault
        When a set cannot be read.
    ConfigurationError
        When there is no checkpoint, or patients that it has learned from would choose.
    """
    network = load_fitted(task, checkpoint)
    folder = cache or out / "cache"
    if choice_of is None:
        _require_set_apart(task, checkpoint.parent)
        chooser = Split.TUNE if task.data.tuning else Split.VAL
        known = gather(task.data, data, folder, tuple({Split.VAL, chooser}), workers=workers)
        val = [s for s in known if s.split is (Split.VAL if s.source == PHANTOMS else chooser)]
        choice = replace(_choose(task, network, val), made_on=chooser.value)
    else:
        choice = _taken_over(task, choice_of)
    other = gather(task.data, data, folder, tuple({split, Split.TEST}), workers=workers)
    test = [s for s in other if s.split is (Split.TEST if s.source == PHANTOMS else split)]
    if task.task is ModelTask.SEGMENT:
        report = _evaluate_segmenter(task, network, choice, test, out, draws)
    else:
        report = _evaluate_classifier(task, network, choice, test, draws)
    write_report(report, out)
    return report


def _require_set_apart(task: Task, out: Path) -> None:
    """Refuse to let patients choose that the run has learned from."""
    path = out / "run.json"
    if task.data.tuning is None or not path.is_file():
        return
    fitted = json.loads(path.read_text(encoding="utf-8"))["task"]["data"]["tuning"]
    if fitted != task.data.tuning.model_dump(mode="json"):
        raise ConfigurationError(
            f"{out} was not trained with these patients set apart, so it has learned from those "
            "who would choose its operating point; evaluate as it was fitted, with the same "
            "--set-apart."
        )


def _choose(task: Task, network: Network, samples: Sequence[Sample]) -> Choice:
    if task.task is ModelTask.SEGMENT:
        found = _by_source(segment(network, [s for s in samples if s.lesions is not None]))
        real = {name: items for name, items in found.items() if name != PHANTOMS}
        threshold, outline = segmenter_thresholds(found.get(PHANTOMS, []), real)
        return Choice(
            threshold,
            images=sum(len(items) for items in real.values()),
            outline_threshold=outline,
        )
    scored = classify(network, [s for s in samples if s.malignant is not None])
    films = [item for item in scored if item.sample.source != PHANTOMS]
    return Choice(
        classifier_threshold(_by_source(scored)),
        learn_calibration(films),
        images=len(films),
        malignant=sum(item.sample.malignant is True for item in films),
    )


def _taken_over(task: Task, run: Path) -> Choice:
    other = read_report(run)
    if (other.task, other.choice.made_on) != (task.name, Split.TUNE.value):
        raise ConfigurationError(
            f"{run} is no evaluated run of {task.name} with patients set apart; train one with "
            "fit --set-apart and evaluate it the same way."
        )
    return replace(other.choice, made_on="out-of-fold")


def _evaluate_segmenter(
    task: Task,
    network: Network,
    choice: Choice,
    test: Sequence[Sample],
    out: Path,
    draws: int,
) -> Report:
    found = segment(network, [sample for sample in test if sample.lesions is not None])
    groups = _by_subset(found)
    figures = [
        figure
        for subset, items in groups.items()
        for figure in segmenter_figures(
            items, subset, choice.threshold, draws, choice.outline_threshold
        )
    ]
    outcomes = [
        segmenter_outcome(item, subset, choice.threshold, choice.outline_threshold)
        for subset, items in groups.items()
        for item in items
    ]
    curves = {
        subset: froc_curve([marks_of(item.sample, item.probability) for item in items])
        for subset, items in groups.items()
    }
    line_plot(
        out / "froc.svg",
        {name: (rates[rates <= 6], found[rates <= 6]) for name, (rates, found) in curves.items()},
        x_label="false marks per image",
        y_label="lesion sensitivity",
    )
    return Report(task.name, choice, tuple(figures), tuple(outcomes))


def _evaluate_classifier(
    task: Task,
    network: Network,
    choice: Choice,
    test: Sequence[Sample],
    draws: int,
) -> Report:
    scored = classify(network, [sample for sample in test if sample.malignant is not None])
    groups = _by_subset(scored)
    film = [item for item in scored if item.sample.source != PHANTOMS]
    pooled = {POOLED: film} if len(groups) > 2 else {}
    figures = [
        figure
        for subset, items in {**groups, **pooled}.items()
        for figure in (
            *classifier_figures(items, subset, choice.threshold, draws),
            *calibration_figures(items, subset, choice.calibrator, draws),
        )
    ]
    outcomes = [
        classifier_outcome(item, subset) for subset, items in groups.items() for item in items
    ]
    return Report(task.name, choice, tuple(figures), tuple(outcomes))


def write_report(report: Report, out: Path) -> None:
    """Write ``report.json`` and ``images.csv`` into a folder, created when missing."""
    out.mkdir(parents=True, exist_ok=True)
    content = {
        "task": report.task,
        "choice": asdict(report.choice),
        "figures": [asdict(figure) for figure in report.figures],
    }
    (out / "report.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    with (out / "images.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ImageOutcome.__slots__)
        writer.writeheader()
        writer.writerows(asdict(outcome) for outcome in report.outcomes)


def read_report(folder: Path) -> Report:
    """Read what `write_report` wrote.

    Raises
    ------
    ConfigurationError
        When the folder holds no evaluation.
    """
    path = folder / "report.json"
    if not path.is_file():
        raise ConfigurationError(f"There is no {path}; run evaluate first.")
    content = json.loads(path.read_text(encoding="utf-8"))
    figures = tuple(
        Figure(
            item["subset"],
            item["name"],
            Estimate(**item["estimate"]),
            Estimate(**item["baseline"]) if item["baseline"] else None,
        )
        for item in content["figures"]
    )
    with (folder / "images.csv").open(newline="", encoding="utf-8") as stream:
        outcomes = tuple(_outcome(row) for row in csv.DictReader(stream))
    chosen = {**content["choice"], "calibrator": Calibrator(**content["choice"]["calibrator"])}
    return Report(content["task"], Choice(**chosen), figures, outcomes)


def compare(one: Report, other: Report, *, draws: int = DRAWS) -> list[Figure]:
    """Difference of two models on the images that both were scored on, `other` minus `one`.

    Classifiers differ in AUC, segmenters in mean Dice; intervals draw patients, paired.

    Raises
    ------
    ConfigurationError
        When the two share no image.
    """
    theirs = {(outcome.subset, outcome.key): outcome for outcome in other.outcomes}
    pairs: dict[str, list[tuple[ImageOutcome, ImageOutcome]]] = {}
    for outcome in one.outcomes:
        match = theirs.get((outcome.subset, outcome.key))
        if match is not None:
            pairs.setdefault(outcome.subset, []).append((outcome, match))
    if not pairs:
        raise ConfigurationError(
            "The two evaluations share no image; evaluate both on the same sets and split."
        )
    return [_difference(subset, items, draws) for subset, items in pairs.items()]


def _difference(
    subset: str, items: Sequence[tuple[ImageOutcome, ImageOutcome]], draws: int
) -> Figure:
    with_dice = [(a, b) for a, b in items if a.dice is not None and b.dice is not None]
    if with_dice:
        change = np.array([(b.dice or 0.0) - (a.dice or 0.0) for a, b in with_dice])
        patients = [a.patient for a, _ in with_dice]
        estimate = bootstrap(lambda index: float(change[index].mean()), patients, draws=draws)
        return Figure(subset, "change of mean Dice", estimate)
    positive = np.array([a.positive is True for a, _ in items])
    before = np.array([a.score for a, _ in items])
    after = np.array([b.score for _, b in items])
    estimate = bootstrap(
        lambda index: auc(after[index], positive[index]) - auc(before[index], positive[index]),
        [a.patient for a, _ in items],
        draws=draws,
    )
    return Figure(subset, "change of AUC", estimate)


def _outcome(row: Mapping[str, str]) -> ImageOutcome:
    return ImageOutcome(
        subset=row["subset"],
        key=row["key"],
        patient=row["patient"],
        positive={"True": True, "False": False}.get(row["positive"]),
        score=float(row["score"]),
        dice=float(row["dice"]) if row["dice"] else None,
        found={"True": True, "False": False}.get(row["found"]),
        findings=int(row["findings"]),
    )


def _by_source(items: Sequence[Scored]) -> dict[str, list[Scored]]:
    groups: dict[str, list[Scored]] = {}
    for item in items:
        groups.setdefault(item.sample.source, []).append(item)
    return groups


def _by_subset(items: Sequence[Scored]) -> dict[str, list[Scored]]:
    groups: dict[str, list[Scored]] = {}
    for item in items:
        groups.setdefault(f"{item.sample.source} {item.sample.split.value}", []).append(item)
    return groups
