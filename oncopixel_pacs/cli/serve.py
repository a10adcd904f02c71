"""``oncopixel serve``."""

from __future__ import annotations

import signal
import threading
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.bootstrap import Addresses, Role, Server
from oncopixel_pacs.cli.leaving import leave, wait_for
from oncopixel_pacs.cli.options import ConfigOption
from oncopixel_pacs.logs import configure_logging
from oncopixel_pacs.settings import Settings, load_settings


def serve(
    config: ConfigOption = None,
    role: Annotated[
        list[Role] | None,
        typer.Option(help="What this process does; every role when absent. May be repeated."),
    ] = None,
    ports_file: Annotated[
        Path | None,
        typer.Option(help="Write the ports that were bound to this file, as TOML."),
    ] = None,
) -> None:
    """Run the server until it is told to stop (Ctrl-C or SIGTERM).

    It listens for C-STORE, analyses studies that are complete, sends the results to the
    configured destinations and answers on the status page.
    """
    settings = load_settings(config)
    configure_logging(settings.log_level, settings.log_format)
    stopped = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopped.set()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    server = Server(settings, tuple(role or Role))
    addresses = server.start()
    try:
        _tell(settings, addresses, ports_file)
        wait_for(stopped)
    except BaseException:
        server.stop()
        raise
    leave(server.stop, settings.stop_seconds)


def _tell(settings: Settings, addresses: Addresses, ports_file: Path | None) -> None:
    if addresses.dimse_port is not None:
        typer.echo(f"DICOM    {settings.ae_title}@{settings.dimse_host}:{addresses.dimse_port}")
    if addresses.dimse_tls_port is not None:
        place = f"{settings.dimse_host}:{addresses.dimse_tls_port}"
        typer.echo(f"DICOM    {settings.ae_title}@{place} over TLS")
    if addresses.http_port is not None:
        typer.echo(f"Status   {status_address(settings, addresses.http_port)}")
    if addresses.metrics_port is not None:
        typer.echo(f"Metrics  {settings.metrics.host}:{addresses.metrics_port}/metrics")
    typer.echo(RESEARCH_NOTICE)
    if ports_file is not None:
        _write_ports(ports_file, addresses)


def status_address(settings: Settings, port: int) -> str:
    """Address of the pages, as a browser on this machine takes it."""
    scheme = "http" if settings.api.certificate is None else "https"
    host = f"[{settings.http_host}]" if ":" in settings.http_host else settings.http_host
    return f"{scheme}://{host}:{port}/"


def _write_ports(file: Path, addresses: Addresses) -> None:
    lines = [f"dimse_port = {addresses.dimse_port or 0}"]
    lines.append(f"dimse_tls_port = {addresses.dimse_tls_port or 0}")
    lines.append(f"http_port = {addresses.http_port or 0}\n")
    # Written beside and renamed: who waits for the file sees all of it.
    beside = file.with_suffix(".part")
    beside.write_text("\n".join(lines), encoding="utf-8")
    beside.replace(file)
