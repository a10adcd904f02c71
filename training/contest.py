"""Two recipes on equal budgets and the same patients: one table, shared plots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from oncopixel_pacs.errors import ConfigurationError
from training.assessment import Assessment, assess
from training.charts import (
    froc,
    learning_curves,
    reliability,
    roc_curves,
    save,
    violins,
)
from training.class_scores import ClassScores, macro_auc
from training.learning import Options, fit_recipe, training_seconds
from training.metrics import Estimate, bootstrap
from training.network_names import describe_network
from training.pixel_scores import PixelScores, dice_values
from training.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Contest:
    """What came of a comparison.

    Attributes
    ----------
    difference
        Second minus first, paired by image, patients drawn together.
    """

    assessments: tuple[Assessment, Assessment]
    seconds: tuple[float, float]
    parameters: tuple[int, int]
    figure: str
    difference: Estimate


def equal_budget(recipe: Recipe, other: Recipe) -> Recipe:
    """Give the second recipe the first one's data, seed, batches and number of steps.

    Raises
    ------
    ConfigurationError
        When the two do not answer the same question.
    """
    if recipe.kind != other.kind or recipe.data.classes != other.data.classes:
        raise ConfigurationError(
            f"{recipe.name} and {other.name} answer different questions; compare twins."
        )
    if len(recipe.training.stages) != len(other.training.stages):
        raise ConfigurationError(f"{recipe.name} and {other.name} have different stages.")
    # The learning rate stays each network's own: one rate for both would favour one of them.
    stages = tuple(
        theirs.model_copy(update={"epochs": ours.epochs, "steps": ours.steps, "batch": ours.batch})
        for ours, theirs in zip(recipe.training.stages, other.training.stages, strict=True)
    )
    training = other.training.model_copy(
        update={"stages": stages, "patience": recipe.training.patience}
    )
    return other.model_copy(update={"training": training, "data": recipe.data, "seed": recipe.seed})


def contest(
    recipe: Recipe, other: Recipe, out: Path, options: Options, draws: int = 1000
) -> Contest:
    """Train, score and compare two recipes.

    Leaves both runs, ``comparison.md`` and ``plots/`` in `out`.

    Raises
    ------
    ConfigurationError
        When the two do not answer the same question.
    """
    pair = (recipe, equal_budget(recipe, other))
    assessments, seconds, parameters = [], [], []
    for one in pair:
        # Each from fresh weights or its own recipe's checkpoint, never from the other's.
        fit_recipe(one, out / one.name, options)
        seconds.append(training_seconds(out / one.name))
        assessments.append(assess(one, out / one.name, options, draws))
        network = describe_network(one).make()
        parameters.append(sum(value.numel() for value in network.parameters()))
    figure, difference = _difference(assessments[0], assessments[1], draws)
    result = Contest(
        (assessments[0], assessments[1]),
        (seconds[0], seconds[1]),
        (parameters[0], parameters[1]),
        figure,
        difference,
    )
    (out / "comparison.md").write_text(comparison_table(result), encoding="utf-8")
    _plots(result, out)
    return result


def _difference(one: Assessment, other: Assessment, draws: int) -> tuple[str, Estimate]:
    if one.classes is not None and other.classes is not None:
        first, second = one.classes, _aligned(other.classes, one.classes.keys)

        def change(index: np.ndarray[tuple[int], np.dtype[np.intp]]) -> float:
            return macro_auc(second.model[index], second.labels[index]) - macro_auc(
                first.model[index], first.labels[index]
            )

        return "AUC", bootstrap(change, first.patients, draws=draws)
    if one.pixels is None or other.pixels is None:
        raise ConfigurationError("The two share no scored image; check their sets.")
    change_of_dice = dice_values(other.pixels.model) - dice_values(one.pixels.model)
    has = np.flatnonzero(~np.isnan(change_of_dice))
    patients = [one.pixels.patients[i] for i in has]
    values = change_of_dice[has]
    return "mean Dice", bootstrap(lambda i: float(values[i].mean()), patients, draws=draws)


def _aligned(scores: ClassScores, keys: Sequence[str]) -> ClassScores:
    places = {key: index for index, key in enumerate(scores.keys)}
    return scores.at([places[key] for key in keys])


def comparison_table(result: Contest) -> str:
    """Both models, their floors and costs, figure by figure, Markdown."""
    one, other = result.assessments
    names = (one.recipe.name, other.recipe.name)
    lines = [
        f"| images | figure | {names[0]} | {names[1]} | commonest answer | classical floor |",
        "|---|---|---|---|---|---|",
    ]
    theirs = {(row.subset, row.name): row for row in other.rows}
    for row in one.rows:
        match = theirs.get((row.subset, row.name))
        second = str(match.model) if match else ""
        floors = " | ".join(str(value) if value else "" for value in (row.trivial, row.floor))
        lines.append(f"| {row.subset} | {row.name} | {row.model} | {second} | {floors} |")
    lines += [
        f"| | parameters | {result.parameters[0]:,} | {result.parameters[1]:,} | | |",
        f"| | seconds of training | {result.seconds[0]:.0f} | {result.seconds[1]:.0f} | | |",
        "",
        f"{names[1]} minus {names[0]}, {result.figure}, paired: {result.difference}.",
    ]
    return "\n".join(lines) + "\n"


def _plots(result: Contest, out: Path) -> None:
    folder = out / "plots"
    folder.mkdir(parents=True, exist_ok=True)
    runs = {one.recipe.name: out / one.recipe.name for one in result.assessments}
    save(folder / "learning_curves.png", lambda axes: learning_curves(axes, runs))
    classes = {one.recipe.name: one.classes for one in result.assessments if one.classes}
    if classes:
        labels = result.assessments[0].recipe.data.classes
        save(folder / "roc.png", lambda axes: roc_curves(axes, classes, labels))
        save(folder / "calibration.png", lambda axes: reliability(axes, classes))
    pixels: dict[str, PixelScores] = {
        one.recipe.name: one.pixels for one in result.assessments if one.pixels
    }
    if pixels:
        save(folder / "dice.png", lambda axes: violins(axes, pixels))
        if next(iter(pixels.values())).model[0].marks is not None:
            save(folder / "froc.png", lambda axes: froc(axes, pixels))
