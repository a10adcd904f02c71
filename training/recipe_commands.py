"""What the commands do with recipes; the command line itself stays thin."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.table import Table

from oncopixel_pacs.errors import ConfigurationError
from training.recipe import Recipe, load_recipe, recipe_names
from training.served import why_not_served

if TYPE_CHECKING:
    from training.learning import Options

_SMOKE_DATA = "smoke-data"


def is_recipe(name: str) -> bool:
    """Tell whether a task is a recipe in YAML."""
    return name in recipe_names() or name.endswith((".yaml", ".yml"))


def is_recipe_run(out: Path) -> bool:
    """Tell whether a folder holds the run of a recipe."""
    return (out / "recipe.json").is_file()


def fit_named(
    task: str,
    data: Path | None,
    out: Path,
    *,
    cache: Path | None,
    start_from: Path | None,
    workers: int,
    loggers: tuple[str, ...],
    smoke: bool,
) -> list[Path]:
    """Train a recipe by name."""
    from training.learning import Options, fit_recipe

    recipe, folder = _ready(task, data, out, smoke)
    _warn(recipe)
    options = Options(
        folder, cache or out / "cache", start_from, 0 if smoke else workers, loggers, not smoke
    )
    return fit_recipe(recipe, out, options)


def evaluate_run(
    data: Path | None, out: Path, *, cache: Path | None, workers: int, draws: int
) -> Table:
    """Score the run of a folder and show its figures."""
    from training.assessment import assess
    from training.learning import read_run

    recipe = read_run(out)
    assessment = assess(recipe, out, _options(data, out, cache, workers), draws)
    table = Table(title=recipe.name)
    for name in ("images", "figure", "model", "commonest", "classical floor"):
        table.add_column(name, overflow="fold")
    for row in assessment.rows:
        table.add_row(
            row.subset, row.name, str(row.model), str(row.trivial or ""), str(row.floor or "")
        )
    return table


def export_run(
    data: Path | None,
    out: Path,
    bundle: Path,
    *,
    cache: Path | None,
    fold: int,
    licence: Path | None,
    torchscript: bool,
) -> list[str]:
    """Write the bundles of a run; the ``[[models]]`` tables that pin them."""
    from training.bundle_export import export_recipe
    from training.learning import read_run

    recipe = read_run(out)
    _warn(recipe)
    bundles = export_recipe(
        recipe,
        out,
        _options(data, out, cache, 0),
        bundle,
        fold=fold,
        licence=licence,
        torchscript=torchscript,
    )
    return [one.pin(str(one.folder)) for one in bundles]


def compare_recipes(
    task: str,
    twin: str | None,
    data: Path | None,
    out: Path,
    *,
    cache: Path | None,
    workers: int,
    smoke: bool,
    draws: int,
) -> str:
    """Train a recipe and its twin on equal budgets; the table of both."""
    from training.contest import comparison_table, contest
    from training.learning import Options

    recipe, folder = _ready(task, data, out, smoke)
    second = twin or recipe.twin
    if second is None:
        raise ConfigurationError(f"{task} has no twin; name a task with --with.")
    other = load_recipe(second)
    options = Options(
        folder, cache or out / "cache", workers=0 if smoke else workers, progress=not smoke
    )
    result = contest(recipe, other.smoked() if smoke else other, out, options, draws)
    return comparison_table(result)


def _warn(recipe: Recipe) -> None:
    # Not into standard output, which export's tables leave for oncopixel.toml.
    if said := why_not_served(recipe):
        typer.echo(said, err=True)


def _ready(task: str, data: Path | None, out: Path, smoke: bool) -> tuple[Recipe, Path | None]:
    from training.smoke_sets import write_smoke_sets

    recipe = load_recipe(task)
    if not smoke:
        return recipe, data
    recipe = recipe.smoked()
    return recipe, write_smoke_sets(recipe.data.sets, out / _SMOKE_DATA)


def _options(data: Path | None, out: Path, cache: Path | None, workers: int) -> Options:
    from training.learning import Options

    smoked = out / _SMOKE_DATA
    folder = smoked if smoked.is_dir() else data
    return Options(folder, cache or out / "cache", workers=workers)
