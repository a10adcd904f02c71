"""Builds mammograms small enough for a test, and the parts that receive them."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from ssl import SSLContext
from typing import Any

import numpy as np
from free_ports import free_port as free_port
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import DigitalMammographyXRayImageStorageForPresentation as MG
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.association import Association
from store_template import open_prepared

from oncopixel_pacs.deliver.association import Requestor
from oncopixel_pacs.imaging.sameness import is_same_object
from oncopixel_pacs.imaging.transcode import decode_frame
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.limits import DEFAULT_LIMITS, Limits
from oncopixel_pacs.receive.pull.puller import PullParts
from oncopixel_pacs.receive.scp import Records, StorageScp, open_records
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.callers import Callers
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.pulls import Pulls

STUDY = "1.2.826.0.1.3680043.8.498.1"


def utc_now() -> datetime:
    """Tell the time."""
    return datetime.now(UTC)


def mammogram(
    number: int = 1, *, rows: int = 32, columns: int = 24, fill: int = 100, **attributes: Any
) -> FileDataset:
    """One For Presentation mammogram; `attributes` override, ``None`` removes."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = MG
    meta.MediaStorageSOPInstanceUID = f"{STUDY}.1.{number}"
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image = FileDataset("", {}, file_meta=meta, preamble=b"\x00" * 128)
    image.SOPClassUID = MG
    image.SOPInstanceUID = f"{STUDY}.1.{number}"
    image.StudyInstanceUID = STUDY
    image.SeriesInstanceUID = f"{STUDY}.1"
    image.PatientName = "Phantom^Anna"
    image.PatientID = "P-1"
    image.StudyDate = "20250102"
    image.Modality = "MG"
    image.PresentationIntentType = "FOR PRESENTATION"
    image.ImageLaterality = "L"
    image.ViewPosition = "CC"
    image.Rows, image.Columns = rows, columns
    image.SamplesPerPixel = 1
    image.PhotometricInterpretation = "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.PixelRepresentation = 0
    image.ImagerPixelSpacing = [0.1, 0.1]
    image.PixelData = np.full((rows, columns), fill, dtype="<u2").tobytes()
    for keyword, value in attributes.items():
        if value is None:
            delattr(image, keyword)
        else:
            setattr(image, keyword, value)
    return image


def write(image: Dataset, path: Path) -> Path:
    """Write a Part 10 file."""
    image.save_as(path, enforce_file_format=True)
    return path


def cut(path: Path, last_bytes: int) -> Path:
    """Take bytes off the end of a file."""
    content = path.read_bytes()
    path.write_bytes(content[:-last_bytes])
    return path


@dataclass
class Reception:
    """A running acceptor and what lies behind it."""

    settings: Settings
    database: Database
    files: FileStore
    catalogue: Catalogue
    intake: Intake
    records: Records
    scp: StorageScp
    port: int
    tls_port: int = 0

    @property
    def callers(self) -> Callers:
        """Who was rejected."""
        return self.records.callers

    @property
    def stored(self) -> list[str]:
        """SOP Instance UIDs that have a row."""
        return [
            item.facts.sop_instance_uid
            for study in self.catalogue.studies().items
            for item in study.instances
        ]

    def pull_parts(self) -> PullParts:
        """Give what a puller of this server works with."""
        database = self.database
        kept = (Pulls(database), self.catalogue, Ledger(database))
        return PullParts(*kept, self.intake, self.settings, utc_now)

    @property
    def leftovers(self) -> list[Path]:
        """Temporary files."""
        return list(self.files.incoming.iterdir())


@contextmanager
def reception(
    data_dir: Path,
    limits: Limits = DEFAULT_LIMITS,
    *,
    free_bytes: Callable[[Path], int] = lambda _folder: 1 << 50,
    attempt_waits: Sequence[float] = (0.0,),
    **options: Any,
) -> Iterator[Reception]:
    """Run an acceptor on a free port; it believes that its disk is as free as `free_bytes` says."""
    settings = Settings(**{"data_dir": data_dir, "dimse_port": 0, **options})
    files = FileStore(settings.data_dir)
    database = open_prepared(settings.resolved_database_url)
    catalogue = Catalogue(database)
    records = open_records(database, settings.executor)
    same = partial(is_same_object, decoder=decode_frame)
    intake = Intake(files, catalogue, utc_now, same=same)
    scp = StorageScp(
        settings,
        intake,
        records,
        utc_now,
        limits,
        free_bytes=free_bytes,
        attempt_waits=attempt_waits,
    )
    ports = scp.start()
    plain, tls = ports.plain or 0, ports.tls or 0
    try:
        yield Reception(settings, database, files, catalogue, intake, records, scp, plain, tls)
    finally:
        scp.stop()
        database.close()


@contextmanager
def association(
    port: int,
    *,
    called: str = "ONCOPIXEL",
    calling: str = "MODALITY",
    sop_class: str = MG,
    syntaxes: tuple[str, ...] = (ExplicitVRLittleEndian,),
    tls: SSLContext | None = None,
    source: str = "",
) -> Iterator[Association]:
    """Open an association as a modality."""
    entity = Requestor(calling)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 20
    entity.add_requested_context(sop_class, list(syntaxes))
    entity.add_requested_context("1.2.840.10008.1.1")
    tls_args = None if tls is None else (tls, "127.0.0.1")
    assoc = entity.associate(
        "127.0.0.1", port, ae_title=called, tls_args=tls_args, bind_address=(source, 0)
    )
    try:
        yield assoc
    finally:
        if assoc.is_established:
            assoc.release()


def store(port: int, image: Dataset, **options: Any) -> Dataset:
    """C-STORE one data set and return the status data set."""
    with association(port, **options) as assoc:
        return assoc.send_c_store(image)


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    """Wait for a condition, and fail when it does not come."""
    deadline = time.monotonic() + seconds
    ticker = threading.Event()
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come about in time")
        ticker.wait(0.02)


@contextmanager
def silent_listener() -> Iterator[int]:
    """Accept connections and never say a word."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])
