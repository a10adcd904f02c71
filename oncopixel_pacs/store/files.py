"""Files on disk: written beside their place, synced, renamed, and the folder synced.

A path is made of hashes alone, so no UID from outside ever reaches the file system. The same
object has the same path however often it comes; other content under the same UID has another.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from oncopixel_pacs.digests import hex_digits
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.direct_file import leave_page_cache
from oncopixel_pacs.store.free_space import disk_advice

Folder = Literal["instances", "results", "quarantine"]

#: Folders with what is kept; the rest is transfers under way.
KEPT_FOLDERS = ("instances", "results", "quarantine", "labels")


class StorageAway(OSError):
    """What holds the files beside the disk does not take or give them; one sentence says why."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EIO, why)

    def __str__(self) -> str:
        """Say why."""
        return str(self.strerror)


def sentence_of_disk(exc: OSError) -> str:
    """Say in one sentence that the files cannot be reached, and what to do."""
    if isinstance(exc, StorageAway):
        return str(exc)
    return f"The disk of data_dir failed ({exc.strerror or exc}); {disk_advice(exc)}."


class FileStore:
    """Part 10 files below the data directory.

    Attributes
    ----------
    is_cache
        Whether the truth lies elsewhere, and this folder holds copies.

    Parameters
    ----------
    data_dir
        Folder on one volume; made when missing. `OSError` from any method means that nothing
        was kept.
    """

    is_cache = False

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.incoming = data_dir / "incoming"
        self._writing = data_dir / "writing"
        self.incoming.mkdir(parents=True, exist_ok=True)
        self._writing.mkdir(exist_ok=True)
        instances = data_dir / "instances"
        instances.mkdir(exist_ok=True)
        (data_dir / "results").mkdir(exist_ok=True)
        (data_dir / "quarantine").mkdir(exist_ok=True)
        _sync(data_dir)
        with contextlib.suppress(PermissionError):  # a parent that we may not list
            _sync(data_dir.parent)
        # All of them now: later each would hold up the first image that comes to it.
        self._durable_folders = {f"{instances}/{number:02x}" for number in range(256)}
        for folder in self._durable_folders:
            Path(folder).mkdir(exist_ok=True)
        _sync(instances)
        self._syncing = ThreadPoolExecutor(1, thread_name_prefix="sync")
        # Its thread begins here and not in a thread that is held on one processor.
        self._syncing.submit(threading.get_ident).result()
        self._at_once = threading.Lock()
        self._stored_last = 0

    def check(self, *, writes: bool = False) -> None:
        """Ask whether what lies beyond this host's disk is there; raises `StorageAway`."""

    def require_disk(self, probe_bytes: int = 4096) -> None:
        """Try whether the data directory takes a file of this size.

        Raises
        ------
        OutOfResources
            When it does not, with what to do.
        """
        try:
            with tempfile.TemporaryFile(dir=self.data_dir) as probe:
                probe.write(bytes(probe_bytes))
                probe.flush()
        except OSError as exc:
            raise OutOfResources(
                f"The data directory does not take a file ({exc.strerror or exc}); "
                f"{disk_advice(exc)}."
            ) from exc

    def discard(self, relative: str) -> None:
        """Remove a file that no row promises; it may be gone."""
        (self.data_dir / relative).unlink(missing_ok=True)

    def absolute(self, relative: str) -> Path:
        """Absolute path of a stored file."""
        return self.data_dir / relative

    def holds(self, relative: str) -> bool:
        """Whether a stored file is there."""
        return os.path.exists(f"{self.data_dir}/{relative}")  # noqa: PTH110

    def keep(self, temp: Path, folder: Folder, sop_instance_uid: str, digest: str) -> str:
        """Make a finished temporary file permanent and durable.

        The order is what makes it safe against power loss: the bytes, the name, the folder.

        Parameters
        ----------
        temp
            Complete file on the same volume, such as inside `incoming`; gone afterwards.
        sop_instance_uid, digest
            What the path is derived from.

        Returns
        -------
        str
            Path relative to the data directory.
        """
        relative = relative_path(folder, sop_instance_uid, digest)
        target = self.absolute(relative)
        _sync(temp)
        self._make_durable(str(target.parent))
        temp.replace(target)
        _sync(target.parent)
        return relative

    def place(self, temp: Path, descriptor: int, sop_instance_uid: str, digest: str) -> str:
        """Make a received file permanent and durable.

        The name comes before the bytes are synced, so that a journal takes both in one go: as
        fast as one sync, where one after the other costs two. So after a power loss a name may
        stand over torn bytes, but never in the place of a file that was whole.

        Parameters
        ----------
        temp, descriptor
            Complete file inside `incoming`, and open; its name is gone afterwards.

        Returns
        -------
        str
            Path relative to the data directory.
        """
        relative = relative_path("instances", sop_instance_uid, digest)
        # Texts: paths as objects cost as much as the system calls.
        target = f"{self.data_dir}/{relative}"
        folder = target.rpartition("/")[0]
        self._make_durable(folder)
        try:
            os.link(temp, target)
        except OSError:
            # It is held already, or the volume has no hard links: what takes the place of
            # another file must be whole before.
            os.fsync(descriptor)
            os.replace(temp, target)  # noqa: PTH105
        else:
            os.unlink(temp)  # noqa: PTH108
        self._sync_both(descriptor, folder)
        return relative

    def write(self, content: bytes, folder: Folder, sop_instance_uid: str) -> tuple[str, str]:
        """Store bytes durably.

        Returns
        -------
        tuple of str
            Path relative to the data directory, and the SHA-256 of the bytes.
        """
        digest = hashlib.sha256(content).hexdigest()
        handle, name = tempfile.mkstemp(dir=self._writing, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
            return self.keep(Path(name), folder, sop_instance_uid, digest), digest
        except OSError:
            # Half a file would take the room that a full disk lacks.
            Path(name).unlink(missing_ok=True)
            raise

    def labels_path(self, job_id: str) -> str:
        """Path of the label maps of one job, relative to the data directory."""
        return f"labels/{hashlib.sha256(job_id.encode()).hexdigest()[:32]}"

    def labels_dir(self, job_id: str) -> Path:
        """Folder for the label maps of one job."""
        path = self.data_dir / self.labels_path(job_id)
        path.mkdir(parents=True, exist_ok=True)
        return path

    def sync_labels(self, job_id: str) -> None:
        """Make the names of the label maps of one job durable; their bytes are."""
        path = self.labels_dir(job_id)
        for folder in (path, path.parent, self.data_dir):
            _sync(folder)

    def stored_paths(self) -> Iterator[str]:
        """Relative path of every stored instance, those without a row included."""
        for path in (self.data_dir / "instances").glob("*/*.dcm"):
            yield str(path.relative_to(self.data_dir))

    def oldest_first(self, paths: Iterable[str]) -> list[str]:
        """Order files by when they were written; those that are gone meanwhile come first."""

        def written_at(path: str) -> tuple[float, str]:
            try:
                return (self.data_dir / path).stat().st_mtime, path
            except OSError:
                return 0.0, path

        return sorted(paths, key=written_at)

    def every_path(self, paths: Iterable[str], job_ids: Iterable[str]) -> Iterator[str]:
        """Relative path of every file that is kept: here all that lie in the folder.

        Parameters
        ----------
        paths, job_ids
            Files and jobs that have a row, for a store whose folder does not hold everything.
        """
        for folder in KEPT_FOLDERS:
            for parent, folders, names in os.walk(self.data_dir / folder, onerror=_unless_gone):
                folders.sort()
                for name in sorted(names):
                    if not name.endswith(".part"):  # in the making
                        yield str((Path(parent) / name).relative_to(self.data_dir))

    def complete(self, relative: str) -> None:
        """See to it that other hosts have a file of this folder."""

    def hand_out(self) -> int:
        """See to it that other hosts have every file of this folder; returns how many it took."""
        return 0

    def sweep_writing(self, older_than_seconds: float = 3600.0) -> int:
        """Remove half-written results of a process that died; young ones may be in the making."""
        count = 0
        for path in self._writing.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > older_than_seconds:
                    path.unlink()
                    count += 1
        return count

    def sweep_incoming(self) -> int:
        """Remove what interrupted transfers left behind; none of it was acknowledged."""
        count = 0
        for path in self.incoming.iterdir():
            path.unlink(missing_ok=True)
            count += 1
        return count

    def _sync_both(self, descriptor: int, folder: str) -> None:
        """Sync a file and its folder: at once while one thread stores alone.

        With several the disk has enough to do, and each call of a second thread holds up all
        that wait for the interpreter.
        """
        thread = threading.get_ident()
        is_alone, self._stored_last = self._stored_last == thread, thread
        if is_alone and self._at_once.acquire(blocking=False):
            try:
                name_synced = self._syncing.submit(_sync, folder)
                os.fsync(descriptor)
                name_synced.result()
            finally:
                self._at_once.release()
        else:
            os.fsync(descriptor)
            _sync(folder)
        leave_page_cache(descriptor)

    def _make_durable(self, folder: str) -> None:
        # Whoever made the folder may not have synced it, so each process does, once.
        if folder not in self._durable_folders:
            Path(folder).mkdir(exist_ok=True)
            _sync(Path(folder).parent)
            self._durable_folders.add(folder)


def _unless_gone(error: OSError) -> None:
    """Let a folder be gone that was there a moment ago, as that of a shadow model's maps."""
    if not isinstance(error, FileNotFoundError):
        raise error


def is_of_labels(path: str) -> bool:
    """Whether a relative path is of label maps: a folder for each job, or a file in one."""
    return path.startswith("labels/")


def relative_path(folder: Folder, sop_instance_uid: str, digest: str) -> str:
    """Path of a file below the data directory."""
    name = hashlib.sha256(sop_instance_uid.encode()).hexdigest()[:32]
    # 128 bit: nobody can make two objects that share them, and so overwrite the first.
    return f"{folder}/{name[:2]}/{name}-{hex_digits(digest)[:32]}.dcm"


def fetch_ahead(paths: Iterable[Path]) -> None:
    """Ask the system to read files into its page cache, and do not wait for it.

    What cannot be asked for is left to whoever reads it, and says what is wrong.
    """
    if not hasattr(os, "posix_fadvise"):  # there is none on macOS
        return
    for path in paths:
        with contextlib.suppress(OSError), path.open("rb") as stream:
            os.posix_fadvise(stream.fileno(), 0, 0, os.POSIX_FADV_WILLNEED)


def _sync(path: Path | str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
