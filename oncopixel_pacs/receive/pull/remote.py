"""What the readers of sources share: what they find, and what they are given."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oncopixel_pacs.errors import IntakeRefused, ObjectNotGiven, OutOfResources, PullFailed
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.settings.dimse import TlsSettings
from oncopixel_pacs.store.free_space import FreeSpace, disk_advice

#: Objects are asked for without a content coding: Orthanc spends seconds on each to gzip it.
UNCODED = {"Accept-Encoding": "identity"}
#: Largest object that is taken, as over DICOM.
MAX_OBJECT_BYTES = 2 << 30


@dataclass(frozen=True, slots=True)
class Remote:
    """One object that a source holds; the SOP class is empty where it does not say."""

    sop_instance_uid: str
    series_instance_uid: str
    sop_class_uid: str = ""


@dataclass(frozen=True, slots=True)
class Fetch:
    """What a reader works with.

    Attributes
    ----------
    space
        Room for what comes; below the watermark nothing is begun.
    tls
        Our certificate, and whom we trust, where the source is reached over TLS.
    arrived
        Called now and then with the number of objects that have come in this attempt.
    stopping
        Set when the server stops: the reader gives up soon, with any error.
    """

    intake: Intake
    space: FreeSpace
    calling_ae_title: str
    timeout_seconds: float
    tls: TlsSettings
    arrived: Callable[[int], None]
    stopping: threading.Event

    def check_going(self) -> None:
        """Give up when the server stops.

        Raises
        ------
        PullFailed
            When it does; it goes on at the next start.
        """
        if self.stopping.is_set():
            raise PullFailed("The server stops; it goes on at the next start.", permanent=False)

    @contextmanager
    def file(self) -> Iterator[Path]:
        """Yield a new file to write an object into; what is left of it goes afterwards."""
        handle, name = tempfile.mkstemp(dir=self.intake.incoming, suffix=".part")
        os.close(handle)
        try:
            yield Path(name)
        finally:
            Path(name).unlink(missing_ok=True)


def take(
    wanted: tuple[Remote, ...],
    work: Fetch,
    source: str,
    download: Callable[[Remote], Iterable[bytes]],
) -> None:
    """Download objects one by one and take each in; one that does not come holds no other up.

    Raises
    ------
    ObjectNotGiven
        When the source answers but did not give every object.
    PullFailed
        When the source gave up, disk or database take nothing, or an object was refused.
    OutOfResources
        When there is too little room to begin the next one.
    """
    refused: list[str] = []
    not_given: list[str] = []
    for number, item in enumerate(wanted, start=1):
        work.check_going()
        work.space.require()
        with work.file() as path:
            try:
                _write(path, download(item), item)
                work.intake.accept_received(path, source)
            except ObjectNotGiven as exc:
                not_given.append(f"{item.sop_instance_uid}: {exc}")
            except PullFailed as exc:
                if not exc.permanent:
                    raise
                refused.append(f"{item.sop_instance_uid}: {exc}")
            except OutOfResources as exc:
                raise PullFailed(str(exc), permanent=False) from exc
            except IntakeRefused as exc:
                refused.append(f"{item.sop_instance_uid}: {exc}")
        work.arrived(number - len(refused) - len(not_given))
    if not_given:
        raise ObjectNotGiven(f"{source} did not give an object ({_first_of(not_given)}).")
    if refused:
        raise PullFailed(f"An object was not taken ({_first_of(refused)}).", permanent=True)


def _first_of(sentences: list[str]) -> str:
    more = "" if len(sentences) == 1 else f" and {len(sentences) - 1} more"
    return f"{sentences[0]}{more}"


def _write(path: Path, content: Iterable[bytes], item: Remote) -> None:
    size = 0
    try:
        with path.open("wb") as stream:
            for chunk in content:
                size += len(chunk)
                if size > MAX_OBJECT_BYTES:
                    raise PullFailed(
                        f"larger than {MAX_OBJECT_BYTES >> 30} GiB, the most this server takes",
                        permanent=True,
                    )
                stream.write(chunk)
    except OSError as exc:
        # Errors of the network have types of their own by now: this is the disk.
        raise PullFailed(
            f"The disk does not take the object ({exc.strerror or exc}); {disk_advice(exc)}.",
            permanent=False,
        ) from exc
