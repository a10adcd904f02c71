"""``oncopixel destinations`` and ``doctor``: what an admin checks."""

from __future__ import annotations

import errno
import getpass
import importlib.util
import shutil
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from oncopixel_pacs.api.place_schemas import DestinationSummary, EchoAnswer
from oncopixel_pacs.audit import AuditEvent, AuditKind
from oncopixel_pacs.cli.answers import print_json, require_known
from oncopixel_pacs.cli.options import ConfigOption, JsonOption
from oncopixel_pacs.cli.tables import Table
from oncopixel_pacs.deliver import echo
from oncopixel_pacs.errors import ConfigurationError, OlderSchema, OncoPixelError
from oncopixel_pacs.infer.cards import read_algorithms
from oncopixel_pacs.opening import open_existing, open_store, utc_now
from oncopixel_pacs.receive import pull
from oncopixel_pacs.receive.peers import PeerBook
from oncopixel_pacs.settings import Settings, SourceSettings, TlsSettings, load_settings
from oncopixel_pacs.settings.sources import CMoveSource
from oncopixel_pacs.store.former_destinations import FormerDestinations, GivenUp
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.peers import AllowedPeers
from oncopixel_pacs.tls import acceptor_context, certificate_alarm, read_certificate

destinations = typer.Typer(
    help="List and echo the destinations; forget one that is gone.", no_args_is_help=True
)


@destinations.command("list")
def list_destinations(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the configured destinations."""
    found = [DestinationSummary.of(item) for item in load_settings(config).destinations]
    if as_json:
        print_json(list[DestinationSummary], found)
        return
    table = Table("Name", "Type", "Address", "Objects")
    for item in found:
        table.add_row(item.name, item.type, item.address, ", ".join(item.objects))
    Console().print(table)


@destinations.command("echo")
def echo_destination(
    config: ConfigOption = None,
    name: Annotated[str | None, typer.Option(help="Only this one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Ask each destination whether it would take results (C-ECHO, or what its type has)."""
    settings = load_settings(config)
    require_known(name, [item.name for item in settings.destinations], "destination")
    answers: dict[str, EchoAnswer] = {}
    for item in settings.destinations:
        if name is not None and item.name != name:
            continue
        check = _destination_check(settings, item.name)
        answers[item.name] = EchoAnswer(ok=check.good, said=check.said)
        if not as_json:
            typer.echo(f"{item.name}: {check.said}")
    if as_json:
        print_json(dict[str, EchoAnswer], answers)
    if not all(item.ok for item in answers.values()):
        raise typer.Exit(1)


@destinations.command("forget")
def forget_destination(
    name: Annotated[str, typer.Argument(help="Name that it had; it is configured no more.")],
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Give up what a destination that is no longer configured did not take.

    What it has taken stays on record.
    """
    settings = load_settings(config)
    if name in {item.name for item in settings.destinations}:
        raise ConfigurationError(
            f"{name} is configured, and what waits for it is sent; take it out of "
            "[[destinations]] and restart the server first."
        )
    store = open_existing(settings)
    try:
        given_up = FormerDestinations(store.database).forget(name, utc_now())
        said = f"{_some(given_up.objects, 'result object')} of {_some(given_up.jobs, 'job')}"
        who = f"{getpass.getuser()} (shell)"
        detail = f"gave up {said} for destination {name}"
        store.audit.append(AuditEvent(AuditKind.SETTINGS, utc_now(), who, detail=detail))
    finally:
        store.database.close()
    if as_json:
        print_json(GivenUp, given_up)
        return
    typer.echo(f"Nothing waits for {name} any more; {said} are not sent there.")


def _some(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at, and what was found or what to do."""

    subject: str
    good: bool
    said: str


def doctor(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check disk, database, models, ports, destinations, sources and alarms; say what to do."""
    settings = load_settings(config)
    checks = list(_checks(settings))
    # What a check has said already is said once.
    told = {item.said for item in checks}
    checks += [item for item in _alarms(settings) if item.said not in told]
    if as_json:
        # The keys of /health/ready, where the same things are checked.
        rows = [{"name": item.subject, "ok": item.good, "detail": item.said} for item in checks]
        ready = all(item.good for item in checks)
        print_json(dict[str, object], {"ready": ready, "checks": rows})
    else:
        table = Table("Check", "", "Found")
        for item in checks:
            table.add_row(item.subject, "ok" if item.good else "NOT OK", item.said)
        Console().print(table)
    if not all(item.good for item in checks):
        raise typer.Exit(1)


def _checks(settings: Settings) -> Iterator[Check]:
    yield _attempt("database", lambda: _check_store(settings))
    yield _check_disk(settings)
    if settings.bucket.name:
        yield _check_bucket(settings)
    yield _attempt("models", lambda: _check_models(settings))
    yield _check_device()
    if (certificate := settings.tls.certificate) is not None:
        yield _attempt("certificate", lambda: _check_certificate(settings.tls, certificate, "tls"))
        yield _check_port(settings, "DICOM TLS port", settings.dimse_host, settings.tls.port)
    if not settings.tls.only:
        yield _check_port(settings, "DICOM port", settings.dimse_host, settings.dimse_port)
    if (https := settings.api.certificate) is not None:
        own = TlsSettings(certificate=https, key=settings.api.key, require_peer_certificate=False)
        yield _attempt("HTTPS certificate", lambda: _check_certificate(own, https, "api"))
    yield _check_port(settings, "HTTP port", settings.http_host, settings.http_port)
    for item in settings.destinations:
        yield _destination_check(settings, item.name)
    for source in settings.sources:
        yield _attempt(f"source {source.name}", partial(_check_source, settings, source))


def _alarms(settings: Settings) -> Iterator[Check]:
    """Give what stands on every page of the server."""
    from oncopixel_pacs.api.alarms import failed_jobs  # most commands need none of it
    from oncopixel_pacs.api.health import alarms
    from oncopixel_pacs.cli.top.sources import standing_here

    try:
        store = open_store(settings, upgrades=False)
    except OncoPixelError:
        return  # as the check of the database says
    try:
        here = standing_here(settings, store)
        if not _runs(settings):
            here = replace(here, models_alarm=str)  # nobody works where nobody was started
        for said in (*alarms(here), failed_jobs(here)):
            if said:
                yield Check("alarm", False, said)
    except OncoPixelError as exc:
        yield Check("alarm", False, str(exc))
    finally:
        store.database.close()


def _attempt(subject: str, work: Callable[[], str]) -> Check:
    try:
        return Check(subject, True, work())
    except OncoPixelError as exc:
        return Check(subject, False, str(exc))


def _check_store(settings: Settings) -> str:
    try:
        store = open_store(settings, upgrades=False)
    except OlderSchema as exc:
        return str(exc)  # as it is between installation and start of a new version
    try:
        return f"open, schema up to date ({store.database.engine.dialect.name})"
    finally:
        store.database.close()


def _check_disk(settings: Settings) -> Check:
    space = FreeSpace(settings.data_dir, settings.receive.least_free_bytes)
    return _attempt(
        "disk", lambda: f"{space.require() / 1024**3:.1f} GiB free in {settings.data_dir}"
    )


def _check_bucket(settings: Settings) -> Check:
    from oncopixel_pacs.store.bucket import BucketFileStore  # most hosts have no bucket

    try:
        BucketFileStore(settings.data_dir, settings.bucket).check(writes=True)
    except OSError as exc:
        return Check("bucket", False, str(exc))
    return Check("bucket", True, f"{settings.bucket.name} takes objects and lets go of them")


def _check_models(settings: Settings) -> str:
    names = [item.name for item in read_algorithms(settings.active_models)]
    return f"{', '.join(names)}: weights are the pinned ones"


def _check_certificate(settings: TlsSettings, path: Path, table: str) -> str:
    acceptor_context(settings)
    now = datetime.now(UTC)
    certificate = read_certificate(path)
    if alarm := certificate_alarm(settings, now, table):
        raise ConfigurationError(alarm)
    return certificate.validity(now)


def _check_device() -> Check:
    if importlib.util.find_spec("torch") is None:
        return Check("device", False, "torch is not installed; install it and try again")
    driver = shutil.which("nvidia-smi")
    said = "an NVIDIA driver is here; the models use it" if driver else "no GPU; the CPU is used"
    return Check("device", True, said)


def _check_port(settings: Settings, subject: str, host: str, port: int) -> Check:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as exc:
            if exc.errno == errno.EADDRINUSE and _runs(settings):
                return Check(subject, True, f"{host}:{port} is in use; the server runs")
            advice = "stop the other program, or is the server running already?"
            return Check(
                subject, False, f"{host}:{port} cannot be bound ({exc.strerror}); {advice}"
            )
    return Check(subject, True, f"{host}:{port} is free")


def _runs(settings: Settings) -> bool:
    """Whether the server of this configuration answers on this machine."""
    import httpx  # most commands need none of it

    scheme = "http" if settings.api.certificate is None else "https"
    host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(settings.http_host, settings.http_host)  # noqa: S104
    try:
        # Its certificate names how others call it; nothing secret is asked or told.
        live = httpx.get(
            f"{scheme}://{host}:{settings.http_port}/health/live",
            timeout=2.0,
            trust_env=False,
            verify=False,  # noqa: S501
        )
        return live.status_code == 200 and live.json() == {"status": "alive"}
    except (httpx.HTTPError, ValueError):
        return False


def _check_source(settings: Settings, source: SourceSettings) -> str:
    said = pull.echo(
        source,
        calling_ae_title=settings.ae_title,
        timeout_seconds=settings.pull.timeout_seconds,
        tls=settings.tls,
    )
    if isinstance(source, CMoveSource) and not settings.takes_anyone:
        _require_admitted(settings, source.ae_title)
    return said


def _require_admitted(settings: Settings, ae_title: str) -> None:
    """Raise where whatever an archive sends for a C-MOVE would be rejected."""
    try:
        store = open_store(settings, upgrades=False)
    except OlderSchema:
        return
    try:
        known = PeerBook(settings, AllowedPeers(store.database)).known()
    finally:
        store.database.close()
    if ae_title.strip() not in {peer.ae_title.strip() for peer in known}:
        raise ConfigurationError(
            f"It answers, but sends as {ae_title.strip()}, which is not among [[peers]]: what is "
            "pulled would be rejected; add it there."
        )


def _destination_check(settings: Settings, name: str) -> Check:
    item = next(one for one in settings.destinations if one.name == name)
    return _attempt(
        f"destination {name}",
        lambda: echo(
            item,
            calling_ae_title=settings.ae_title,
            timeout_seconds=settings.delivery.timeout_seconds,
            tls=settings.tls,
        ),
    )
