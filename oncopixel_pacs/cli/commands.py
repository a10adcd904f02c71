"""Every command, in one tree."""

from __future__ import annotations

from typing import Annotated

import typer

from oncopixel_pacs import RESEARCH_NOTICE, __version__
from oncopixel_pacs.cli import (
    access,
    audit,
    backup,
    conformance,
    demo,
    models,
    operate,
    pull,
    retention,
    route,
    run,
    samples,
    send,
    serve,
    status,
    top,
    viewer,
)

app = typer.Typer(
    name="oncopixel",
    help=f"Open mammography AI server for the PACS. {RESEARCH_NOTICE}",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)


def _say_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Take the options that come before any command; their callbacks act."""


app.command("serve")(serve.serve)
app.command("run")(run.run)
app.command("route")(route.route)
app.command("send")(send.send)
app.command("demo")(demo.demo)
app.command("samples")(samples.samples)
app.command("conformance")(conformance.conformance)
app.command("doctor")(operate.doctor)
app.command("pull")(pull.pull)
app.command("top")(top.top)
app.command("backup")(backup.backup)
app.command("restore")(backup.restore)
app.add_typer(retention.retention, name="retention")
app.add_typer(pull.sources, name="sources")
app.add_typer(audit.audit, name="audit")
app.add_typer(access.users, name="users")
app.add_typer(access.tokens, name="tokens")
app.add_typer(status.studies, name="studies")
app.add_typer(status.jobs, name="jobs")
app.add_typer(models.models, name="models")
app.add_typer(operate.destinations, name="destinations")
app.add_typer(viewer.viewer, name="viewer")
