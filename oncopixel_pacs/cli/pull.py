"""``oncopixel pull`` and ``oncopixel sources``: studies from archives."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from rich.console import Console

from oncopixel_pacs.api.place_schemas import EchoAnswer, SourceAnswer, address_of_source
from oncopixel_pacs.cli.answers import print_json, require_known
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.progress import progress_bar
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.domain.pulls import Pull, PullState
from oncopixel_pacs.errors import PullFailed
from oncopixel_pacs.opening import open_existing, utc_now
from oncopixel_pacs.receive.pull import echo
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.settings.section import Uid
from oncopixel_pacs.store.pulls import Pulls

sources = typer.Typer(help="List and echo the sources of pulls.", no_args_is_help=True)

_UID: TypeAdapter[str] = TypeAdapter(Uid)
_POLL_SECONDS = 0.3
#: After so long in the queue, say who takes it out.
_HINT_SECONDS = 10.0


def pull(
    study_instance_uid: Annotated[str, typer.Argument(help="Study Instance UID.")],
    source: Annotated[str, typer.Option("--from", help="Name of the source.")],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Show the progress until it has ended.")
    ] = True,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Fetch a study from an archive; a running server does the work."""
    settings = load_settings(config)
    require_known(source, [item.name for item in settings.sources], "source")
    try:
        _UID.validate_python(study_instance_uid)
    except ValidationError as exc:
        raise typer.BadParameter(f"{study_instance_uid!r} is no UID") from exc
    store = open_existing(settings)
    try:
        pulls = Pulls(store.database)
        asked = pulls.add(study_instance_uid, source, utc_now())
        ended = _watched(pulls, asked, silent=as_json) if wait else asked
    finally:
        store.database.close()
    if as_json:
        print_json(Pull, ended)
    else:
        typer.echo(_sentence(ended))
    if ended.state in (PullState.PARTIAL, PullState.FAILED):
        raise typer.Exit(1)


@sources.command("list")
def list_sources(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the configured sources."""
    if as_json:
        found = [SourceAnswer.of(item) for item in load_settings(config).sources]
        print_json(list[SourceAnswer], found)
        return
    table = Table("Name", "Type", "Address")
    for item in load_settings(config).sources:
        table.add_row(item.name, item.type, address_of_source(item))
    Console().print(table)


@sources.command("echo")
def echo_source(
    config: ConfigOption = None,
    name: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask each source whether it is there (C-ECHO and what it takes, or a query)."""
    settings = load_settings(config)
    require_known(name, [item.name for item in settings.sources], "source")
    answers: dict[str, EchoAnswer] = {}
    for item in settings.sources:
        if name is not None and item.name != name:
            continue
        try:
            said = echo(
                item,
                calling_ae_title=settings.ae_title,
                timeout_seconds=settings.pull.timeout_seconds,
                tls=settings.tls,
            )
        except PullFailed as exc:
            answers[item.name] = EchoAnswer(ok=False, said=str(exc))
        else:
            answers[item.name] = EchoAnswer(ok=True, said=said)
        if not as_json:
            typer.echo(f"{item.name}: {answers[item.name].said}")
    if as_json:
        print_json(dict[str, EchoAnswer], answers)
    if not all(item.ok for item in answers.values()):
        raise typer.Exit(1)


def _watched(pulls: Pulls, pull: Pull, *, silent: bool) -> Pull:
    hint_at: float | None = time.monotonic() + _HINT_SECONDS
    with progress_bar(silent=silent) as progress:
        task = progress.add_task(pull.state, total=None)
        while not pull.state.final:
            time.sleep(_POLL_SECONDS)
            pull = pulls.pull(pull.id)
            said = f"{pull.state}: {pull.error}" if pull.error else pull.state
            progress.update(task, description=said, total=pull.expected, completed=pull.received)
            if hint_at is not None and time.monotonic() > hint_at:
                hint_at = None
                if pull.attempts == 0 and not silent:
                    progress.console.print(
                        "No server has taken it up yet; does one with role receive run? "
                        "Ctrl-C leaves it in the queue."
                    )
    return pull


def _sentence(pull: Pull) -> str:
    count = f"{pull.received} of {pull.expected or '?'} objects of {pull.study_instance_uid}"
    if pull.state is PullState.DONE:
        return f"{count} are here."
    if not pull.state.final:
        return f"Pull {pull.id} is {pull.state}."
    return f"{count} are here. {pull.error}"
