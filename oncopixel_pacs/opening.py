"""Opens what everything is kept in; every command begins with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import make_url

from oncopixel_pacs import __version__
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.metrics.counting_store import CountingCatalogue, CountingLedger
from oncopixel_pacs.metrics.meters import Meters
from oncopixel_pacs.sender_drift import DriftWatch
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database, open_database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.history import History
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.ownership import give_new_to_owner
from oncopixel_pacs.store.process_locks import hold_duties
from oncopixel_pacs.store.retention import Retention


def utc_now() -> datetime:
    """Return the current time, aware and in UTC."""
    return datetime.now(UTC)


@dataclass
class Store:
    """Where everything is kept, and what this process counts of it."""

    database: Database
    files: FileStore
    catalogue: Catalogue
    ledger: Ledger
    audit: AuditTrail
    meters: Meters
    drift: DriftWatch


def open_store(settings: Settings, *, upgrades: bool = True) -> Store:
    """Open data directory and database, making both when they are missing.

    Raises
    ------
    OlderSchema
        When the database is of an older version, and not to be brought up to date.
    ConfigurationError
        When either cannot be opened.
    """
    with _using(settings.data_dir):
        files = _files_of(settings)
    database = open_database(settings.resolved_database_url, upgrades=upgrades)
    give_new_to_owner(settings.data_dir)
    meters = Meters(__version__)
    return Store(
        database,
        files,
        CountingCatalogue(database, meters),
        CountingLedger(database, meters),
        AuditTrail(database, settings.ae_title),
        meters,
        DriftWatch(History(database), utc_now),
    )


def begin_duties(settings: Settings, duties: Iterable[str], closing: ExitStack) -> None:
    """Hold the data directory for what this process does there, before anything else is done.

    Raises
    ------
    ConfigurationError
        When another process of this machine does the same there.
    """
    with _using(settings.data_dir):
        hold_duties(settings.data_dir, duties, closing)


@contextmanager
def _using(data_dir: Path) -> Iterator[None]:
    """Make the data directory when it is missing, and say what is wrong with it."""
    try:
        # Names of patients lie in it, so it is for our own eyes.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        yield
    except OSError as exc:
        raise ConfigurationError(
            f"The data directory {data_dir} cannot be used ({exc.strerror}); "
            "make it writable or set data_dir."
        ) from exc


def open_existing(settings: Settings) -> Store:
    """Open what a server has made, for a command that only makes sense with it.

    Raises
    ------
    OlderSchema
        When a server of an older version has.
    ConfigurationError
        When it cannot be opened, or nobody has made the embedded database yet.
    """
    path = make_url(settings.resolved_database_url).database
    if settings.resolved_database_url.startswith("sqlite") and path and not Path(path).exists():
        raise ConfigurationError(
            f"There is no database at {path}. Name the configuration of the server by --config, "
            "and see that data_dir is mounted."
        )
    return open_store(settings, upgrades=False)


def _files_of(settings: Settings) -> FileStore:
    if settings.bucket.name:
        from oncopixel_pacs.store.bucket import BucketFileStore  # most hosts have no bucket

        return BucketFileStore(settings.data_dir, settings.bucket)
    return FileStore(settings.data_dir)


def upkeep_of(store: Store, settings: Settings) -> Callable[[Callable[[], bool]], None] | None:
    """Give what a host with a bucket does now and then; ``None`` where there is no bucket.

    It lets go of copies of what was deleted, on whichever host, finishes a deletion that was
    interrupted on one that died, and keeps the copies within their size.
    """
    if not settings.bucket.name:
        return None
    from oncopixel_pacs.store.bucket import BucketFileStore
    from oncopixel_pacs.store.bucket_cache import BucketCache

    files = store.files
    assert isinstance(files, BucketFileStore)  # noqa: S101 - for the type checker
    retention, most_bytes = Retention(store.database, files), settings.bucket.cache_bytes

    def keep(stopping: Callable[[], bool]) -> None:
        retention.recover()
        retention.mend()
        if most_bytes is not None:
            BucketCache(files, most_bytes).shrink(stopping)

    return keep
