"""``oncopixel models``: what reads the images, whether it fits, and how another is added."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.table import Table

from oncopixel_pacs.api.schemas import ModelAnswer
from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError, ModelRefused, OncoPixelError
from oncopixel_pacs.infer.cards import read_algorithms, read_card
from oncopixel_pacs.settings import ModelSettings, Settings, load_settings

models = typer.Typer(help="List, check and add models.", no_args_is_help=True)


@models.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the configured models with version, weights digest and operating point."""
    settings = load_settings(config)
    table = Table("Name", "Task", "Version", "Weights (SHA-256)", "Threshold", "Mode")
    shadows = {item.name for item in settings.shadow_models}
    found = read_algorithms(_all(settings))
    if as_json:
        rows = [
            {**ModelAnswer.of(item).model_dump(), "mode": _mode(item.name, shadows)}
            for item in found
        ]
        print_json(list[dict[str, object]], rows)
        return
    for item in found:
        digest = f"{item.weights_sha256[:16]}…"
        mode = _mode(item.name, shadows)
        table.add_row(item.name, item.task, item.version, digest, f"{item.threshold:.3f}", mode)
    Console().print(table)


@models.command("check")
def check_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Load each model as the server would, run it once, and say of each what is wrong."""
    settings = load_settings(config)
    wrong = {item.name: _trouble(item, settings) for item in _all(settings)}
    if as_json:
        typer.echo(json.dumps(wrong))
    for name, said in () if as_json else wrong.items():
        typer.echo(said or f"{name}: loads and runs.")
    if any(wrong.values()):
        raise typer.Exit(1)


@models.command("add")
def add_model(
    bundle: Annotated[
        Path, typer.Argument(help="Folder of a MONAI bundle.", exists=True, file_okay=False)
    ],
    name: Annotated[str, typer.Option(help="Name of the model, unique.")],
    threshold: Annotated[float, typer.Option(min=0, max=1, help="Operating point.")] = 0.5,
    config: ConfigOption = None,
) -> None:
    """Check a bundle without running anything of it, and add it to the configuration, pinned.

    It is loaded, and run on one artificial image, by the server's own code alone. When it does
    not fit, what is wrong is said and nothing is written. Without a configuration file the table
    to paste is printed.
    """
    settings = load_settings(config)
    if any(item.name == name for item in _all(settings)):
        raise ConfigurationError(f"There is a model {name} already; give another --name.")
    model = _pinned(bundle, name, threshold)
    if said := _trouble(model, settings):
        raise ModelRefused(said)
    table = _table(model)
    if config is None:
        typer.echo(table, nl=False)
        return
    with config.open("a", encoding="utf-8") as file:
        file.write(f"\n{table}")
    alone = "" if settings.models else " The shipped models no longer run unless they are listed."
    typer.echo(f"{name} is in {config}; restart the server.{alone}")


def _mode(name: str, shadows: set[str]) -> str:
    return "shadow" if name in shadows else "active"


def _all(settings: Settings) -> tuple[ModelSettings, ...]:
    """Active models, then shadow models."""
    return (*settings.active_models, *settings.shadow_models)


def _trouble(model: ModelSettings, settings: Settings) -> str:
    """Say what is wrong with one model; empty when it loads and runs."""
    from oncopixel_pacs.infer.loaded_models import load_models

    try:
        read_algorithms([model])
        load_models([model], settings.inference)
    except OncoPixelError as exc:
        return str(exc)
    return ""


def _pinned(bundle: Path, name: str, threshold: float) -> ModelSettings:
    weights = bundle / "models" / "model.pt"
    try:
        with weights.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as exc:
        raise ModelRefused(
            f"Model {name}: {weights} cannot be read ({exc.strerror}); "
            "a bundle has its weights there."
        ) from exc
    try:
        draft = ModelSettings(
            name=name,
            task=ModelTask.SEGMENT,
            bundle=bundle.absolute(),
            sha256=digest,
            threshold=threshold,
        )
    except ValidationError as exc:
        raise ConfigurationError(f"{name!r} is no name: 1 to 64 characters.") from exc
    return draft.model_copy(update={"task": read_card(draft).task})


def _table(model: ModelSettings) -> str:
    # A JSON string of this text is a TOML string, too.
    return (
        f'[[models]]\nname = {json.dumps(model.name)}\ntask = "{model.task}"\n'
        f'bundle = {json.dumps(str(model.bundle))}\nsha256 = "{model.sha256}"\n'
        f"threshold = {model.threshold!r}\n"
    )
