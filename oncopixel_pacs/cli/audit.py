"""``oncopixel audit``: who did what to which study."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs.cli.answers import print_json
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.opening import open_existing
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.store.audit_trail import AuditRecord, AuditTrail, Verification

audit = typer.Typer(help="List and check the audit trail.", no_args_is_help=True)


@audit.command("list")
def list_records(
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="How many at most.")] = 50,
    who: Annotated[str, typer.Option(help="Only what this one did.")] = "",
    study: Annotated[str, typer.Option(help="Only what was done to this study (UID).")] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the audit trail, the newest first."""
    settings = load_settings(config)
    store = open_existing(settings)
    try:
        trail = AuditTrail(store.database, settings.ae_title)
        items = trail.records(limit=limit, who=who, study_instance_uid=study).items
    finally:
        store.database.close()
    if as_json:
        print_json(tuple[AuditRecord, ...], items)
        return
    table = Table("No.", "When (UTC)", "Who", "From", "What", "Outcome", "Study")
    for item in items:
        outcome = {0: "done", 4: "refused"}.get(item.outcome, "failed")
        when = f"{item.at:%Y-%m-%d %H:%M:%S}"
        table.add_row(
            str(item.id),
            when,
            item.who,
            item.address,
            item.kind,
            outcome,
            item.study_instance_uid,
        )
    Console().print(table)


@audit.command("verify")
def verify(
    head: Annotated[
        str,
        typer.Option(help="NUMBER:DIGEST that an earlier check told; it must still be there."),
    ] = "",
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check every record against the chain, and tell its head; 1 when something was changed."""
    settings = load_settings(config)
    store = open_existing(settings)
    try:
        found = AuditTrail(store.database, settings.ae_title).verify(head)
    finally:
        store.database.close()
    if as_json:
        print_json(Verification, found)
    elif found.fault:
        typer.echo(f"The audit trail was tampered with: {found.fault}", err=True)
    else:
        typer.echo(f"{found.records} records are as they were written. Head: {found.head}")
    if found.fault:
        raise typer.Exit(1)
