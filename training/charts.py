"""Pictures of an assessment: curves, matrices, violins, and the best and worst cases."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from numpy.typing import NDArray

from training.class_scores import ClassScores
from training.datasets.example import IGNORED, Classes, Example
from training.inputs import Prepared, Preparer
from training.metrics import Marks, froc_curve
from training.pixel_scores import AnsweredClasses, PixelScores, dice_values

if TYPE_CHECKING:
    from training.assessment import Assessment

_CASES, _BINS, _LEAST_IN_BIN = 4, 10, 12
_LINES = ("-", "--", ":")
_TISSUES = colormaps["tab10"]
_WIDE, _TITLE = 20.0, 30
Draw = Callable[[Axes], None]


def draw_charts(
    assessment: Assessment, out: Path, examples: Sequence[Example], preparer: Preparer
) -> None:
    """Draw every chart that the assessment allows into ``plots/``."""
    folder = out / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    name = assessment.recipe.name
    save(folder / "learning_curves.png", lambda axes: learning_curves(axes, {name: out}))
    if assessment.classes is not None:
        scores, names = assessment.classes, assessment.recipe.data.classes
        save(folder / "roc.png", lambda axes: roc_curves(axes, {name: scores}, names))
        save(folder / "calibration.png", lambda axes: reliability(axes, {name: scores}))
        save(folder / "confusion.png", lambda axes: confusion(axes, scores, names))
        sure = scores.model[np.arange(len(scores.labels)), scores.labels]
        told = [
            f"{names[label]} {value:.2f}, said {names[answer]}"
            for label, value, answer in zip(scores.labels, sure, _answers(scores), strict=True)
        ]
        cases(folder / "cases.png", scores.keys, sure, told, examples, preparer)
    if assessment.pixels is not None:
        pixels = assessment.pixels
        save(folder / "dice.png", lambda axes: violins(axes, {name: pixels}))
        if pixels.model[0].marks is not None:
            save(folder / "froc.png", lambda axes: froc(axes, {name: pixels}))
        overlap = dice_values(pixels.model)
        cases(
            folder / "segmentation_cases.png",
            pixels.keys,
            overlap,
            [f"Dice {value:.2f}" for value in overlap],
            examples,
            preparer,
            Answers(pixels.answers, pixels.classes),
        )


def save(path: Path, draw: Draw) -> None:
    """Draw one chart into a PNG file."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    figure.savefig(path, dpi=110)


def roc_curves(axes: Axes, models: Mapping[str, ClassScores], names: Sequence[str]) -> None:
    """Trace sensitivity by false positives, of each class against the rest.

    A class has a colour and a model a style of line, unless there is one class alone.
    """
    wanted = [1] if len(names) == 2 else range(len(names))
    for place, (model, scores) in enumerate(models.items()):
        for number in wanted:
            order = np.argsort(-scores.model[:, number], kind="stable")
            positive = (scores.labels == number)[order]
            found = np.cumsum(positive) / max(int(positive.sum()), 1)
            false = np.cumsum(~positive) / max(int((~positive).sum()), 1)
            axes.plot(
                [0, *false],
                [0, *found],
                _LINES[place % len(_LINES)],
                color=f"C{number if len(wanted) > 1 else place}",
                label=f"{model}: {names[number]}",
            )
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set_aspect("equal")
    _label(axes, "share of the others called so (1 - specificity)", "sensitivity")


def reliability(axes: Axes, models: Mapping[str, ClassScores]) -> None:
    """Show how often the most likely class is right, by how likely it is said to be.

    Each point stands for as many images as the others, so that none hangs on one image.
    """
    for model, scores in models.items():
        sure = scores.model.max(axis=1)
        right = scores.model.argmax(axis=1) == scores.labels
        bins = max(1, min(_BINS, len(sure) // _LEAST_IN_BIN))
        parts = np.array_split(np.argsort(sure, kind="stable"), bins)
        points = [(float(sure[part].mean()), float(right[part].mean())) for part in parts]
        axes.plot(*zip(*points, strict=True), marker="o", label=model)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    axes.set_aspect("equal")
    axes.set_ylim(-0.03, 1.03)
    _label(axes, "probability of the answer", "share of answers that are right")


def confusion(axes: Axes, scores: ClassScores, names: Sequence[str]) -> None:
    """Count images by class and answer."""
    count = len(names)
    table = np.bincount(scores.labels * count + _answers(scores), minlength=count * count)
    table = table.reshape(count, count)
    axes.imshow(table, cmap="Blues", vmin=0, vmax=max(int(table.max()), 1))
    for row, column in np.ndindex(count, count):
        dark = table[row, column] > table.max() / 2
        axes.text(
            column,
            row,
            str(table[row, column]),
            ha="center",
            va="center",
            color="white" if dark else "black",
        )
    axes.set_xticks(range(count), names, rotation=30)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")


def _answers(scores: ClassScores) -> NDArray[np.intp]:
    """Class that each image is called; of two, at the operating point."""
    if scores.model.shape[1] == 2:
        return scores.called.astype(np.intp)
    likeliest: NDArray[np.intp] = scores.model.argmax(axis=1)
    return likeliest


def violins(axes: Axes, models: Mapping[str, PixelScores]) -> None:
    """Spread of the mean Dice per image, model beside classical floor."""
    columns = {f"{model}": dice_values(scores.model) for model, scores in models.items()}
    last = list(models.values())[-1]
    columns["classical floor"] = dice_values(last.floor)
    kept = [values[~np.isnan(values)] for values in columns.values()]
    kept = [values if values.size else np.zeros(1) for values in kept]
    axes.violinplot([_spread(values) for values in kept], showmedians=True)
    axes.set_xticks(range(1, len(columns) + 1), list(columns))
    axes.set_ylabel("mean Dice per image")
    axes.set_ylim(-0.02, 1.02)


def _spread(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Keep a violin of equal values from having no width."""
    return values + np.linspace(-1e-6, 1e-6, values.size) if values.size > 1 else values.repeat(2)


def froc(axes: Axes, models: Mapping[str, PixelScores]) -> None:
    """Trace lesion sensitivity by false marks per image."""
    for model, scores in models.items():
        rates, found = froc_curve([answer.marks or Marks((), ()) for answer in scores.model])
        shown = rates <= 6
        axes.plot(rates[shown], found[shown], label=model)
    _label(axes, "false marks per image", "lesion sensitivity")


def learning_curves(axes: Axes, runs: Mapping[str, Path]) -> None:
    """Trace training and validation loss of the first fold, stage after stage.

    The scale is logarithmic where an early loss would press all others to the floor.
    """
    every: list[float] = []
    for place, (name, out) in enumerate(runs.items()):
        start = 0.0
        logs = sorted((out / "fold-0").glob("stage-*/logs/metrics.csv"))
        for log in logs:
            stage = f" {log.parent.parent.name}" if len(logs) > 1 else ""
            with log.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            for column, style, mark, what in (
                ("train_loss", "-", "o", "training"),
                ("val_loss", "--", "s", "validation"),
            ):
                points = [
                    (start + float(row["step"]), float(row[column]))
                    for row in rows
                    if row.get(column)
                ]
                if points:
                    every += [loss for _, loss in points]
                    axes.plot(
                        *zip(*points, strict=True),
                        style,
                        marker=mark if len(points) == 1 else None,
                        color=f"C{place}",
                        label=f"{name}{stage} {what}",
                    )
            start += max((float(row["step"]) for row in rows), default=0.0)
    if every and 0 < min(every) * _WIDE < max(every):
        axes.set_yscale("log")
    _label(axes, "step", "loss")


def cases(
    path: Path,
    keys: Sequence[str],
    quality: NDArray[np.float64],
    told: Sequence[str],
    examples: Sequence[Example],
    preparer: Preparer,
    answers: Answers | None = None,
) -> None:
    """Show the best and the worst images, with truth, answer and what is told of them."""
    by_key = {example.key: example for example in examples}
    order = [int(i) for i in np.argsort(quality, kind="stable") if not np.isnan(quality[i])]
    if not order:
        return
    # Of few images none is both.
    worst = min(_CASES, (len(order) + 1) // 2)
    rows = (order[:worst], order[worst:][::-1][:_CASES])
    panels = 2 if answers and answers.tissue else 1
    figure = Figure(figsize=(max(2.6 * panels * worst, 4.0), 6), layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(2, panels * worst, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    for row, (title, places) in enumerate(zip(("worst", "best"), rows, strict=True)):
        for column, place in enumerate(places):
            prepared = preparer(by_key[keys[place]])
            given = answers.given[place].classes() if answers else None
            shown = grid[row, panels * column : panels * (column + 1)]
            _case(shown, prepared, given)
            key = "\n".join(wrap(keys[place], _TITLE)[-2:])
            shown[0].set_title(f"{title}: {told[place]}\n{key}", fontsize=7)
    if answers:
        answers.explain(figure)
    figure.savefig(path, dpi=110)


@dataclass(frozen=True, slots=True)
class Answers:
    """What a segmenter said of each image that is shown."""

    given: Sequence[AnsweredClasses]
    names: Sequence[str]

    @property
    def tissue(self) -> bool:
        """Whether every pixel is of one of several classes."""
        return len(self.names) > 1

    def explain(self, figure: Figure) -> None:
        """Say what the colours are."""
        if not self.tissue:
            figure.supxlabel("yellow: truth, cyan: answer", fontsize=8)
            return
        colours = [Patch(color=_TISSUES(i), label=name) for i, name in enumerate(self.names)]
        figure.legend(handles=colours, loc="outside lower center", ncols=5, fontsize=7)
        figure.suptitle("left: truth, right: answer", fontsize=8)


def _case(panels: Sequence[Axes], prepared: Prepared, answer: Classes | None) -> None:
    image = prepared.image.transpose(1, 2, 0)
    low, high = float(image.min()), float(image.max())
    shown = (image - low) / max(high - low, 1e-6)
    for axes in panels:
        axes.imshow(shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray")
    drawn = [(prepared.mask, "yellow"), (answer, "cyan")]
    for number, (classes, colour) in enumerate(drawn):
        if classes is None:
            continue
        if len(panels) > 1:
            seen = np.ma.masked_equal(classes, IGNORED)
            panels[number].imshow(seen, cmap=_TISSUES, vmin=0, vmax=_TISSUES.N, alpha=0.5)
        elif (classes == 1).any() and not (classes == 1).all():
            panels[0].contour(classes == 1, levels=[0.5], colors=colour, linewidths=0.8)


def _label(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
