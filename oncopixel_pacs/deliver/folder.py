"""A folder that takes results as Part 10 files: one folder per study, one file per object."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from oncopixel_pacs.deliver.outcome import Outcome, OutgoingObject
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import FolderDestination, TlsSettings


def send(
    objects: Sequence[OutgoingObject],
    destination: FolderDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> Iterator[Outcome]:
    """Write ``<path>/<Study Instance UID>/<SOP Instance UID>.dcm``, durably.

    See `oncopixel_pacs.deliver.send`. Writing an object again gives the same file.
    """
    del calling_ae_title, timeout_seconds, tls
    _make(destination)
    for item in objects:
        yield _write(item, destination)


def echo(
    destination: FolderDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> str:
    """Write a file and remove it; see `oncopixel_pacs.deliver.echo`."""
    del calling_ae_title, timeout_seconds, tls
    _make(destination)
    try:
        with tempfile.TemporaryFile(dir=destination.path) as probe:
            probe.write(b"oncopixel")
            probe.flush()
            os.fsync(probe.fileno())
    except OSError as exc:
        raise _unusable(destination, exc) from exc
    return f"{destination.path} can be written"


def place_of(destination: FolderDestination, study_instance_uid: str, uid: str) -> Path:
    """Return where an object is filed."""
    return destination.path / _safe(study_instance_uid) / f"{_safe(uid)}.dcm"


def _make(destination: FolderDestination) -> None:
    try:
        destination.path.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise _unusable(destination, exc) from exc


def _write(item: OutgoingObject, destination: FolderDestination) -> Outcome:
    uid = item.sop_instance_uid
    try:
        header = dcmread(item.path, stop_before_pixels=True, specific_tags=["StudyInstanceUID"])
        place = place_of(destination, str(header.StudyInstanceUID), uid)
        place.parent.mkdir(exist_ok=True)
        _sync(destination.path)
        write_durably(item.path.read_bytes(), place)
    except OSError as exc:
        error = f"{destination.name} ({destination.path}) cannot be written ({exc.strerror})."
        return Outcome(uid, False, "", error, False)
    except (InvalidDicomError, AttributeError, ValueError) as exc:
        error = f"The object is not one that {destination.name} can file ({type(exc).__name__})."
        return Outcome(uid, False, "", error, True)
    return Outcome(uid, True, "written", "", False)


def write_durably(content: bytes, target: Path) -> None:
    """Write a file so that it is there whole or not at all, also after a power cut.

    Raises
    ------
    OSError
        When the disk does not take it; the target is then as it was.
    """
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, target)
    except OSError:
        with suppress(OSError):
            os.unlink(name)
        raise
    _sync(target.parent)


def _safe(uid: str) -> str:
    """Return the UID if it can be a file name."""
    if not uid or len(uid) > 64 or not set(uid) <= set("0123456789."):
        raise ValueError("not a UID")
    if not uid.strip("."):
        raise ValueError("not a UID")
    return uid


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unusable(destination: FolderDestination, exc: OSError) -> DeliveryFailed:
    return DeliveryFailed(
        f"{destination.name} ({destination.path}): it cannot be written ({exc.strerror}); "
        "check that it exists, its rights and its disk.",
        permanent=False,
    )
