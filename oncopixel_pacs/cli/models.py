"""``oncopixel models``: what reads the images, whether it fits, and how another is added."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Sequence
from contextlib import closing
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from rich.console import Console

from oncopixel_pacs.api.schemas import ModelAnswer
from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.domain import ModelTask
from oncopixel_pacs.errors import ConfigurationError, ModelRefused, OncoPixelError
from oncopixel_pacs.infer.cards import read_algorithms, read_card
from oncopixel_pacs.infer.operating_point import stated_operating_point
from oncopixel_pacs.infer.trusted.stranger_card import Wishes, propose
from oncopixel_pacs.infer.trusted.table import model_table
from oncopixel_pacs.settings import ModelSettings, RuleSettings, Settings, load_settings

_OTHERWISE = (
    " If you trust who made it, --trusted runs the bundle's own code instead, shut in; see "
    "docs/how-to/researchers.md."
)
_MEANS = (
    "Trusted: the code of this bundle is run with every image that it reads, in a process without "
    "network, other programs or other files. Every file of it is pinned; it is not loaded when "
    "one of them changes."
)


class Activation(StrEnum):
    """What makes the answer of a trusted bundle probabilities."""

    NONE = "none"
    SIGMOID = "sigmoid"
    SOFTMAX = "softmax"


ThresholdOption = Annotated[
    float | None,
    typer.Option(min=0, max=1, help="Operating point; the bundle's own when absent, else 0.5."),
]
ShadowOption = Annotated[
    bool,
    typer.Option("--shadow", help="Let it read beside the active models: compared, never sent."),
]
TrustedOption = Annotated[
    bool,
    typer.Option(
        "--trusted",
        help="Run the bundle's own code, shut in: no network, no other files or programs. "
        "Only for bundles of people whom you trust.",
    ),
]

models = typer.Typer(help="List, check and add models.", no_args_is_help=True)


@models.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the configured models with version, weights digest and operating point."""
    settings = load_settings(config)
    table = Table("Name", "Task", "Version", "Weights (SHA-256)", "Threshold", "Mode")
    modes = [item.mode for item in settings.all_models]
    found = list(zip(read_algorithms(settings.all_models), modes, strict=True))
    if as_json:
        rows = [{**ModelAnswer.of(item).model_dump(), "mode": mode} for item, mode in found]
        print_json(list[dict[str, object]], rows)
        return
    for item, mode in found:
        digest = f"{item.weights_sha256[:16]}…"
        table.add_row(item.name, item.task, item.version, digest, f"{item.threshold:.3f}", mode)
    Console().print(table)


@models.command("check")
def check_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Load each model as the server would, run it once, and say of each what is wrong.

    A trusted bundle is run shut in, as the server does.
    """
    settings = load_settings(config)
    wrong = {item.name: _trouble(item, settings) for item in settings.all_models}
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
    threshold: ThresholdOption = None,
    shadow: ShadowOption = False,
    trusted: TrustedOption = False,
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", help="With --trusted: name of a class, in the bundle's order."),
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(help="With --trusted: a modality that it reads, such as MG."),
    ] = None,
    site: Annotated[
        str,
        typer.Option(help="With --trusted: the organ, as a code such as 12738006:SCT:Brain."),
    ] = "",
    activation: Annotated[
        Activation,
        typer.Option(help="With --trusted: what makes its answer probabilities."),
    ] = Activation.NONE,
    config: ConfigOption = None,
) -> None:
    """Check a bundle and add it to the configuration, pinned.

    Nothing of it is run: it is loaded, and tried on one artificial image, by the server's own code
    alone. With --trusted its own code is run instead, shut in, and every file of it is pinned. When
    it does not fit, what is wrong is said and nothing is written. Without a configuration file what
    to paste is printed.
    """
    settings = load_settings(config)
    if any(item.name == name for item in settings.all_models):
        raise ConfigurationError(f"There is a model {name} already; give another --name.")
    wishes = Wishes(classes or (), modality or (), _code(site), activation)
    if not trusted and wishes != Wishes():
        raise typer.BadParameter("--class, --modality, --site and --activation need --trusted.")
    model = _pinned(bundle, name, threshold, wishes if trusted else None)
    model = model.model_copy(update={"shadow": shadow})
    if said := _trouble(model, settings):
        raise ModelRefused(said if trusted else said + _OTHERWISE)
    kept = _kept(model, settings)
    tables = "\n".join(map(model_table, (model, *kept)))
    if config is None:
        typer.echo(tables, nl=False)
        return
    _append(tables, config)
    said = _consequence(model, kept, settings)
    typer.echo(f"{name} is in {config}; restart the server.{said}")
    if trusted:
        typer.echo(_MEANS, err=True)


def _operating_point(bundle: Path, name: str) -> float:
    """Give the one that a bundle was measured with, or say that it states none."""
    stated = stated_operating_point(bundle)
    if stated is None:
        typer.echo(f"{name} states no operating point: 0.5 is used, see --threshold.", err=True)
    return 0.5 if stated is None else stated


def _kept(model: ModelSettings, settings: Settings) -> tuple[ModelSettings, ...]:
    """Give the shipped models that go on reading when this one is the first that is listed.

    Where any is listed, only what is listed runs; so they are listed with it, but for the one whose
    place it takes.
    """
    if model.shadow or _lists_active(settings):
        return ()
    return tuple(
        item
        for item in settings.active_models
        if item.task is not model.task or _asks_of(item) != _asks_of(model)
    )


def _consequence(model: ModelSettings, kept: Sequence[ModelSettings], settings: Settings) -> str:
    """Say what reads from now on, as far as somebody may not expect it; empty for nothing."""
    if model.shadow:
        return " It reads beside the active models, and nothing of it is sent."
    if _lists_active(settings):
        return _before(model, settings)
    gone = " and ".join(item.name for item in settings.active_models if item not in kept)
    said = f" It takes the place of the shipped {gone}." if gone else ""
    if kept:
        names = ", ".join(item.name for item in kept)
        said += f" Listed behind it, for what it leaves to them: {names}."
    return said


def _lists_active(settings: Settings) -> bool:
    """Whether any active model is listed; the shipped ones run otherwise."""
    return any(not item.shadow for item in settings.models)


def _asks_of(model: ModelSettings) -> tuple[object, object]:
    """Give what of a study a model reads."""
    card = read_card(model)
    return card.subject, card.requirements


def _before(model: ModelSettings, settings: Settings) -> str:
    """Say which model leaves nothing to read to one that is added behind it; empty for none."""
    for item in settings.models:
        if item.shadow or item.task is not model.task or item.rule != RuleSettings():
            continue
        with contextlib.suppress(ModelRefused):
            if _asks_of(item) == _asks_of(model):
                return (
                    f" {item.name} stands before it and reads every study that {model.name} could: "
                    "put it first, give either a rule, or set shadow = true."
                )
    return ""


def _append(table: str, config: Path) -> None:
    with config.open("a", encoding="utf-8") as file:
        file.write(f"\n{table}")


def _trouble(model: ModelSettings, settings: Settings) -> str:
    """Say what is wrong with one model; empty when it loads and runs."""
    from oncopixel_pacs.infer.loaded_models import load_models

    try:
        read_algorithms([model])
        with closing(load_models([model], settings.inference)) as loaded:
            loaded.try_trusted()
    except OncoPixelError as exc:
        return str(exc)
    return ""


def _pinned(
    bundle: Path, name: str, threshold: float | None, wishes: Wishes | None
) -> ModelSettings:
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
            task=ModelTask.CLASSIFY,
            bundle=bundle.absolute(),
            sha256=digest,
            threshold=_operating_point(bundle, name) if threshold is None else threshold,
            trusted=None if wishes is None else propose(name, bundle.absolute(), wishes),
        )
    except ValidationError as exc:
        raise ConfigurationError(f"{name!r} is no name: 1 to 64 characters.") from exc
    try:
        return draft.model_copy(update={"task": read_card(draft).task})
    except ModelRefused as exc:
        raise exc if wishes else ModelRefused(f"{exc}{_OTHERWISE}") from exc


def _code(text: str) -> tuple[str, str, str] | None:
    if not text:
        return None
    value, _, rest = text.partition(":")
    scheme, _, meaning = rest.partition(":")
    if not (value and scheme and meaning):
        raise typer.BadParameter("--site is CODE:SCHEME:MEANING, such as 12738006:SCT:Brain.")
    return value, scheme, meaning
