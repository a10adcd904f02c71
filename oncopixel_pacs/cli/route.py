"""``oncopixel route``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.domain import ImageFacts, ModelMode
from oncopixel_pacs.domain.model_choice import Verdict
from oncopixel_pacs.settings import load_settings

#: File, its image, and whether a model would read it.
_Row = tuple[Path, ImageFacts, Verdict]


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
    candidates = read_candidates(settings.all_models)
    rows = [
        (source.path, source.facts, verdict)
        for files in sources.values()
        for source, verdicts in zip(
            files, routed([(file.facts, origin) for file in files], candidates), strict=True
        )
        for verdict in verdicts
    ]
    if as_json:
        typer.echo(json.dumps([_as_json(*row) for row in rows]))
    else:
        _show(rows)
    if not any(said.mode is ModelMode.ACTIVE and said.reason is None for *_, said in rows):
        raise typer.Exit(1)


def _as_json(path: Path, facts: ImageFacts, verdict: Verdict) -> dict[str, object]:
    return {
        "file": str(path),
        "sop_instance_uid": facts.sop_instance_uid,
        "model": verdict.model,
        "mode": verdict.mode,
        "task": verdict.task,
        "runs": verdict.reason is None,
        "reason": verdict.reason,
        "sentence": verdict.sentence,
    }


def _show(rows: list[_Row]) -> None:
    table = Table("File", "Image", "Model", "Runs", "Why not")
    for path, facts, verdict in rows:
        runs = "yes" if verdict.reason is None else "no"
        name = verdict.model
        if verdict.mode is ModelMode.SHADOW:
            name += f" ({verdict.mode})"
        table.add_row(path.name, facts.name, name, runs, verdict.sentence)
    Console().print(table)
