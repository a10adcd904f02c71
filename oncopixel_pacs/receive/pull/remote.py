"""What the readers of sources share: what they find, and what they are given."""

from __future__ import annotations

import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from oncopixel_pacs.errors import IntakeRefused, OutOfResources, PullFailed
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.store.free_space import FreeSpace

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
    arrived
        Called now and then with the number of objects that have come in this attempt.
    stopping
        Set when the server stops: the reader gives up soon, with any error.
    """

    intake: Intake
    space: FreeSpace
    calling_ae_title: str
    timeout_seconds: float
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
    """Download objects one by one and take each in; one that is refused holds no other up.

    Raises
    ------
    PullFailed
        When the source gave up, disk or database take nothing, or an object was refused.
    OutOfResources
        When there is too little room to begin the next one.
    """
    refused: list[str] = []
    for number, item in enumerate(wanted, start=1):
        work.check_going()
        work.space.require()
        with work.file() as path:
            _write(path, download(item), item)
            try:
                work.intake.accept_received(path, source)
            except OutOfResources as exc:
                raise PullFailed(str(exc), permanent=False) from exc
            except IntakeRefused as exc:
                refused.append(f"{item.sop_instance_uid}: {exc}")
        work.arrived(number - len(refused))
    if refused:
        more = "" if len(refused) == 1 else f" and {len(refused) - 1} more"
        raise PullFailed(f"An object was not taken ({refused[0]}{more}).", permanent=True)


def _write(path: Path, content: Iterable[bytes], item: Remote) -> None:
    size = 0
    try:
        with path.open("wb") as stream:
            for chunk in content:
                size += len(chunk)
                if size > MAX_OBJECT_BYTES:
                    raise PullFailed(
                        f"Object {item.sop_instance_uid} is larger than "
                        f"{MAX_OBJECT_BYTES >> 30} GiB, the most this server takes.",
                        permanent=True,
                    )
                stream.write(chunk)
    except OSError as exc:
        # Errors of the network have types of their own by now: this is the disk.
        raise PullFailed(
            f"The disk does not take the object ({exc.strerror or exc}); free space.",
            permanent=False,
        ) from exc
