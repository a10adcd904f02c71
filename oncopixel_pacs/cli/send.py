"""``oncopixel send``."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated

import typer

from oncopixel_pacs.cli.options import JsonOption
from oncopixel_pacs.cli.progress import progress_bar
from oncopixel_pacs.deliver.cstore import send_files

_ADDRESS = re.compile(r"(?P<ae>[^@]{1,16})@(?P<host>[^:]+):(?P<port>\d{1,5})")


def send(
    paths: Annotated[list[Path], typer.Argument(help="DICOM files or folders.", exists=True)],
    to: Annotated[str, typer.Option(help="Receiver, as AET@host:port.")],
    calling: Annotated[str, typer.Option("--from", help="Our AE title.")] = "MODALITY",
    timeout: Annotated[float, typer.Option(min=1, help="Seconds to wait for an answer.")] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Act as a modality: send files by C-STORE and say what became of each."""
    address = _ADDRESS.fullmatch(to)
    if address is None:
        raise typer.BadParameter(f"{to!r} is not AET@host:port, such as ONCOPIXEL@127.0.0.1:11112")
    files = sorted({file for path in paths for file in _files_below(path)})
    if not files:
        typer.echo("There is no DICOM file to send.", err=True)
        raise typer.Exit(1)
    outcomes = []
    with progress_bar(silent=as_json) as progress:
        task = progress.add_task("Sending", total=len(files))
        for outcome in send_files(
            files,
            host=address["host"],
            port=int(address["port"]),
            called_ae_title=address["ae"],
            calling_ae_title=calling,
            timeout_seconds=timeout,
        ):
            outcomes.append(outcome)
            progress.advance(task)
    refused = [item for item in outcomes if not item.accepted]
    if as_json:
        rows = [
            {
                "sop_instance_uid": item.sop_instance_uid,
                "accepted": item.accepted,
                "status": item.status,
                "error": item.error,
            }
            for item in outcomes
        ]
        typer.echo(json.dumps(rows, indent=2))
    else:
        for item in refused:
            typer.echo(f"not accepted  {item.sop_instance_uid}  {item.status}  {item.error}")
        typer.echo(f"{len(outcomes) - len(refused)} of {len(files)} accepted by {to}")
    if refused or len(outcomes) < len(files):
        raise typer.Exit(1)


def _files_below(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return [item for item in path.rglob("*") if item.is_file() and item.suffix in ("", ".dcm")]
