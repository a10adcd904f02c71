"""Pictures of an assessment: curves, matrices, violins, and the best and worst cases."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from numpy.typing import NDArray

from training.class_scores import ClassScores
from training.datasets.example import Example
from training.inputs import Preparer
from training.metrics import Marks, froc_curve
from training.pixel_scores import PixelScores, dice_values

if TYPE_CHECKING:
    from training.assessment import Assessment

_CASES, _BINS = 4, 10
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
        cases(folder / "cases.png", scores.keys, sure, examples, preparer)
    if assessment.pixels is not None:
        pixels = assessment.pixels
        save(folder / "dice.png", lambda axes: violins(axes, {name: pixels}))
        if pixels.model[0].marks is not None:
            save(folder / "froc.png", lambda axes: froc(axes, {name: pixels}))
        cases(
            folder / "segmentation_cases.png",
            pixels.keys,
            dice_values(pixels.model),
            examples,
            preparer,
        )


def save(path: Path, draw: Draw) -> None:
    """Draw one chart into a PNG file."""
    figure = Figure(figsize=(6, 4.5), layout="constrained")
    FigureCanvasAgg(figure)
    draw(figure.subplots())
    figure.savefig(path, dpi=110)


def roc_curves(axes: Axes, models: Mapping[str, ClassScores], names: Sequence[str]) -> None:
    """Trace sensitivity by false positives, of each class against the rest."""
    for model, scores in models.items():
        wanted = [1] if len(names) == 2 else range(len(names))
        for number in wanted:
            order = np.argsort(-scores.model[:, number], kind="stable")
            positive = (scores.labels == number)[order]
            found = np.cumsum(positive) / max(int(positive.sum()), 1)
            false = np.cumsum(~positive) / max(int((~positive).sum()), 1)
            axes.plot([0, *false], [0, *found], label=f"{model}: {names[number]}")
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    _label(axes, "false positives", "sensitivity")


def reliability(axes: Axes, models: Mapping[str, ClassScores]) -> None:
    """Show how often the most likely class is right, by how likely it is said to be."""
    for model, scores in models.items():
        sure = scores.model.max(axis=1)
        right = scores.model.argmax(axis=1) == scores.labels
        bins = np.minimum((sure * _BINS).astype(np.intp), _BINS - 1)
        points = [
            (float(sure[bins == k].mean()), float(right[bins == k].mean())) for k in np.unique(bins)
        ]
        axes.plot(*zip(*points, strict=True), marker="o", label=model)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
    _label(axes, "said", "true")


def confusion(axes: Axes, scores: ClassScores, names: Sequence[str]) -> None:
    """Count images by class and answer."""
    count = len(names)
    answer = scores.model.argmax(axis=1)
    if count == 2:
        answer = scores.called.astype(np.intp)
    table = np.bincount(scores.labels * count + answer, minlength=count * count)
    table = table.reshape(count, count)
    axes.imshow(table, cmap="Blues")
    for row, column in np.ndindex(count, count):
        dark = table[row, column] > table.max() / 2
        axes.text(
            column, row, str(table[row, column]), ha="center", color="white" if dark else "black"
        )
    axes.set_xticks(range(count), names, rotation=30)
    axes.set_yticks(range(count), names)
    axes.set_xlabel("answer")
    axes.set_ylabel("truth")


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
    """Trace training and validation loss of the first fold, stage after stage."""
    for name, out in runs.items():
        start = 0.0
        for log in sorted((out / "fold-0").glob("stage-*/logs/metrics.csv")):
            with log.open(newline="", encoding="utf-8") as stream:
                rows = list(csv.DictReader(stream))
            for column, style in (("train_loss", "-"), ("val_loss", "--")):
                points = [
                    (start + float(row["step"]), float(row[column]))
                    for row in rows
                    if row.get(column)
                ]
                if points:
                    marker = "o" if len(points) == 1 else None
                    axes.plot(
                        *zip(*points, strict=True),
                        style,
                        marker=marker,
                        label=f"{name} {log.parent.parent.name} {column}",
                    )
            start += max((float(row["step"]) for row in rows), default=0.0)
    _label(axes, "step", "loss")


def cases(
    path: Path,
    keys: Sequence[str],
    quality: NDArray[np.float64],
    examples: Sequence[Example],
    preparer: Preparer,
) -> None:
    """Show the best and the worst images, with their masks outlined."""
    by_key = {example.key: example for example in examples}
    order = [int(i) for i in np.argsort(quality, kind="stable") if not np.isnan(quality[i])]
    chosen = [*order[:_CASES], *order[-_CASES:]]
    if not chosen:
        return
    figure = Figure(figsize=(2.2 * _CASES, 5), layout="constrained")
    FigureCanvasAgg(figure)
    grid: Any = figure.subplots(2, _CASES, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
    rows = (order[:_CASES], order[::-1][:_CASES])
    for row, (title, places) in enumerate(zip(("worst", "best"), rows, strict=True)):
        for column, place in enumerate(places):
            prepared = preparer(by_key[keys[place]])
            image = prepared.image.transpose(1, 2, 0)
            low, high = float(image.min()), float(image.max())
            shown = (image - low) / max(high - low, 1e-6)
            axes = grid[row, column]
            axes.imshow(shown if shown.shape[2] == 3 else shown[..., 0], cmap="gray")
            if prepared.mask is not None and (prepared.mask == 1).any():
                axes.contour(prepared.mask == 1, levels=[0.5], colors="yellow", linewidths=0.8)
            axes.set_title(f"{title}: {quality[place]:.2f}\n{keys[place][-22:]}", fontsize=6)
    figure.savefig(path, dpi=110)


def _label(axes: Axes, x_label: str, y_label: str) -> None:
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=7)
