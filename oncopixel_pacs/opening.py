"""Opens what everything is kept in; every command begins with it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from oncopixel_pacs import __version__
from oncopixel_pacs.domain import Algorithm
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.metrics.counting_store import CountingCatalogue, CountingLedger
from oncopixel_pacs.metrics.meters import Meters
from oncopixel_pacs.metrics.state import StateCollector
from oncopixel_pacs.sender_drift import DriftWatch
from oncopixel_pacs.settings import ResultSettings, Settings
from oncopixel_pacs.store.audit_trail import AuditTrail
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database, open_database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.history import History
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.quarantine import Quarantine
from oncopixel_pacs.workflow.gate import Gate

if TYPE_CHECKING:
    from oncopixel_pacs.store.bucket_cache import BucketCache


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

    def gate(self, settings: ResultSettings) -> Gate:
        """Make the gate that results pass before they are kept here."""
        return Gate(Quarantine(self.database), self.files, settings, utc_now)


def open_store(settings: Settings) -> Store:
    """Open data directory and database, making both when they are missing.

    Raises
    ------
    ConfigurationError
        When either cannot be opened.
    """
    try:
        # Names of patients lie in it, so it is for our own eyes.
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        files = _files_of(settings)
    except OSError as exc:
        raise ConfigurationError(
            f"The data directory {settings.data_dir} cannot be used ({exc.strerror}); "
            "make it writable or set data_dir."
        ) from exc
    database = open_database(settings.resolved_database_url)
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


def shared_state(
    store: Store, settings: Settings, algorithms: tuple[Algorithm, ...]
) -> StateCollector:
    """Make what reads for Prometheus how the whole stands."""
    certificates = {"dicom": settings.tls.certificate, "http": settings.api.certificate}
    return StateCollector(
        store.database,
        FreeSpace(store.files.data_dir, settings.receive.least_free_bytes),
        tuple(item.name for item in settings.destinations),
        {use: path for use, path in certificates.items() if path is not None},
        algorithms,
        store.drift,
        utc_now,
    )


def _files_of(settings: Settings) -> FileStore:
    if settings.bucket.name:
        from oncopixel_pacs.store.bucket import BucketFileStore  # most hosts have no bucket

        return BucketFileStore(settings.data_dir, settings.bucket)
    return FileStore(settings.data_dir)


def cache_of(store: Store, settings: Settings) -> BucketCache | None:
    """Give what keeps this host's copies small; ``None`` where they may be as many as they are."""
    if not settings.bucket.name or settings.bucket.cache_bytes is None:
        return None
    from oncopixel_pacs.store.bucket import BucketFileStore
    from oncopixel_pacs.store.bucket_cache import BucketCache

    assert isinstance(store.files, BucketFileStore)  # noqa: S101 - for the type checker
    return BucketCache(store.files, settings.bucket.cache_bytes)
