"""``oncopixel route``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.domain import ImageFacts
from oncopixel_pacs.domain.model_choice import Verdict
from oncopixel_pacs.settings import ModelMode, load_settings

#: File, its image, how the model is listed, and whether it would read it.
_Row = tuple[Path, ImageFacts, ModelMode, Verdict]


def route(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.", exists=True)],
    calling: Annotated[str, typer.Option("--from", help="AE title that would send them.")] = "",
    called: Annotated[
        str | None,
        typer.Option("--to", help="AE title that it would call; ae_title when absent."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say which models would read files, and why not the others. Nothing is sent or kept.

    Exit status 1 when no active model would read any of them.
    """
    settings = load_settings(config)
    from oncopixel_pacs.domain.rules import Origin
    from oncopixel_pacs.infer.cards import read_candidates
    from oncopixel_pacs.offline import find_sources
    from oncopixel_pacs.route import route as routed

    sources, foreign = find_sources(paths)
    for path in foreign:
        typer.echo(f"not DICOM, left out: {path}", err=True)
    origin = Origin(calling, settings.ae_title if called is None else called)
    groups = [(ModelMode.ACTIVE, read_candidates(settings.active_models))]
    # None stands before a shadow: each is asked by itself.
    groups += [(item.mode, read_candidates([item])) for item in settings.shadow_models]
    rows: list[_Row] = []
    for files in sources.values():
        images = [(file.facts, origin) for file in files]
        asked = [(mode, routed(images, models)) for mode, models in groups]
        rows += (
            (source.path, source.facts, mode, verdict)
            for index, source in enumerate(files)
            for mode, verdicts in asked
            for verdict in verdicts[index]
        )
    if as_json:
        typer.echo(json.dumps([_as_json(*row) for row in rows]))
    else:
        _show(rows)
    if not any(mode is ModelMode.ACTIVE and verdict.reason is None for *_, mode, verdict in rows):
        raise typer.Exit(1)


def _as_json(path: Path, facts: ImageFacts, mode: ModelMode, verdict: Verdict) -> dict[str, object]:
    return {
        "file": str(path),
        "sop_instance_uid": facts.sop_instance_uid,
        "model": verdict.model,
        "mode": mode,
        "task": verdict.task,
        "runs": verdict.reason is None,
        "reason": verdict.reason,
        "sentence": _sentence(verdict),
    }


def _sentence(verdict: Verdict) -> str:
    reason = verdict.reason
    return "" if reason is None else f"{reason.sentence} {verdict.detail}".strip()


def _show(rows: list[_Row]) -> None:
    table = Table("File", "Image", "Model", "Runs", "Why not")
    for path, facts, mode, verdict in rows:
        runs = "yes" if verdict.reason is None else "no"
        name = verdict.model if mode is ModelMode.ACTIVE else f"{verdict.model} ({mode})"
        table.add_row(path.name, facts.name, name, runs, _sentence(verdict))
    Console().print(table)
