"""``oncopixel run``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.progress import tracked
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.domain import ImageResult, ObjectKind, SegmentationForm
from oncopixel_pacs.errors import AnalysisFailed, ConfigurationError, ResultRejected
from oncopixel_pacs.logs import configure_logging
from oncopixel_pacs.settings import Settings, load_settings


def run(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.", exists=True)],
    out: Annotated[Path, typer.Option(help="Folder to write results to, one per study.")],
    model: Annotated[
        list[str] | None,
        typer.Option(help="Only these models, by name; every active one when absent."),
    ] = None,
    objects: Annotated[
        list[ObjectKind], typer.Option(help="Which result objects to write; may be given again.")
    ] = [ObjectKind.SEG, ObjectKind.SR],  # noqa: B006 - typer copies it
    segmentation: Annotated[
        SegmentationForm, typer.Option(help="How segmentations are written.")
    ] = SegmentationForm.BINARY,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Analyse DICOM files in this process, without network or database.

    Writes the result objects, a picture of each view and results.json.
    """
    settings = _choose(load_settings(config), model)
    configure_logging(settings.log_level, settings.log_format)
    # Loading torch takes seconds; --help and mistakes should not.
    from oncopixel_pacs.infer.cards import read_algorithms
    from oncopixel_pacs.infer.loaded_models import load_models
    from oncopixel_pacs.offline import analyse_study, find_sources
    from oncopixel_pacs.report.external_validation import validate_with_tools

    sources, foreign = find_sources(paths)
    for path in foreign:
        typer.echo(f"not DICOM, left out: {path}", err=True)
    if not sources:
        typer.echo("There is no DICOM file to analyse.", err=True)
        raise typer.Exit(1)
    read_algorithms(settings.active_models)  # says what is wrong before the seconds of torch
    models = load_models(settings.active_models, settings.inference)
    studies, failed = [], 0
    for uid, files in tracked(sources.items(), "Analysing", len(sources), silent=as_json):
        try:
            studies.append(analyse_study(uid, files, models, out, objects, segmentation))
        except (AnalysisFailed, ResultRejected) as exc:
            failed += 1
            typer.echo(f"study {uid or '(no UID)'}: {exc}", err=True)
    reports = [validate_with_tools(study.objects, study.sources) for study in studies]
    if as_json:
        typer.echo(json.dumps([str(path) for study in studies for path in study.objects]))
    else:
        _show(studies, out)
    problems = [problem for report in reports for problem in report.problems]
    for problem in problems:
        typer.echo(f"validator: {problem}", err=True)
    if failed or problems or not any(study.objects for study in studies):
        raise typer.Exit(1)


def _choose(settings: Settings, names: list[str] | None) -> Settings:
    if not names:
        return settings
    known = {item.name: item for item in settings.all_models}
    unknown = sorted(set(names) - set(known))
    if unknown:
        raise ConfigurationError(
            f"There is no model {', '.join(unknown)}; the models are {', '.join(known)}."
        )
    # What is asked for by name answers here, also where it only reads along in the server.
    chosen = tuple(known[name].model_copy(update={"shadow": False}) for name in names)
    return settings.model_copy(update={"models": chosen})


def _score(image: ImageResult) -> str:
    """Probability of malignancy, or the class that a model of pictures calls."""
    call = None if image.picture is None else image.picture.call
    if call is not None:
        return f"{call.name} {call.probability:.0%}"
    return "" if image.probability is None else f"{image.probability:.0%}"


def _found(image: ImageResult) -> str:
    """Give the number of findings, or the kinds of tissue that a model of pictures found."""
    if image.picture is None:
        return str(len(image.findings))
    return ", ".join(f"{item.name} {item.share:.0%}" for item in image.picture.tissues)


def _show(studies: list, out: Path) -> None:  # type: ignore[type-arg]
    table = Table("Image", "Probability", "Findings", "Not analysed because")
    for study in studies:
        for image in study.result.images:
            reason = "" if image.reason is None else image.reason.sentence
            table.add_row(image.facts.name, _score(image), _found(image), reason)
    console = Console()
    console.print(table)
    count = sum(len(study.objects) for study in studies)
    console.print(f"{count} result objects in {out}. {RESEARCH_NOTICE}", markup=False)
