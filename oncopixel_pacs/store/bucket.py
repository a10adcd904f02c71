"""Files in object storage (S3 API), for hosts that share no folder.

The bucket is the truth; each host's data directory is a place for transfers and a cache. An
object counts as kept when both have it, so no host needs another's disk.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterable, Iterator
from datetime import timedelta
from pathlib import Path

import obstore
import structlog
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import S3Store

from oncopixel_pacs.settings import BucketSettings
from oncopixel_pacs.store.files import FileStore, Folder, StorageAway, is_of_labels

log = structlog.get_logger()

_ATTEMPTS = 3
#: Who looks whether all is well does not wait as long as who works.
_CHECK_SECONDS = 5.0
_CHECK_NAME = "check"
_DENIED = (PermissionDeniedError, UnauthenticatedError)
_STATUS_DENIED = re.compile(r"status code: 40[13]")


class BucketFileStore(FileStore):
    """A file store of which every file lies in a bucket too.

    As in `FileStore`, `OSError` from any method means that nothing was kept.

    Parameters
    ----------
    data_dir
        This host's own folder.
    settings
        Where the bucket is, and who we are there.
    """

    is_cache = True

    def __init__(self, data_dir: Path, settings: BucketSettings) -> None:
        super().__init__(data_dir)
        self._bucket = _connect(settings)
        self._versions_told = False
        soon = min(settings.timeout_seconds, _CHECK_SECONDS)
        self._checked = _connect(settings.model_copy(update={"timeout_seconds": soon}))

    def check(self, *, writes: bool = False) -> None:
        """Ask whether the bucket is there and lets us read.

        Parameters
        ----------
        writes
            Whether to put an object there and delete it, too.

        Raises
        ------
        StorageAway
            When not, with what is wrong.
        """
        try:
            if writes:
                obstore.put(self._checked, _CHECK_NAME, b"oncopixel")
                obstore.delete(self._checked, [_CHECK_NAME])
            else:
                obstore.get(self._checked, _CHECK_NAME)
        except FileNotFoundError as exc:
            if writes or _says_no_bucket(exc):
                raise _refused(exc) from exc
        except BaseError as exc:
            raise _refused(exc) from exc

    def absolute(self, relative: str) -> Path:
        """Absolute path of a stored file, fetched when this host does not have it."""
        path = super().absolute(relative)
        try:
            # What is used stays; see BucketCache.
            os.utime(path, (time.time(), path.stat().st_mtime))
        except FileNotFoundError:
            if is_of_labels(relative):
                self._fetch_labels(str(Path(relative).parent))
            else:
                self._fetch(relative, path)
        return path

    def is_kept(self, relative: str) -> bool:
        """Whether the bucket has a file of this host, by name and size.

        Raises
        ------
        OSError
            When it does not answer.
        """
        try:
            size: int = obstore.head(self._bucket, relative)["size"]
        except FileNotFoundError:
            return False
        except BaseError as exc:
            raise _refused(exc) from exc
        return size == super().absolute(relative).stat().st_size

    def keep(self, temp: Path, folder: Folder, sop_instance_uid: str, digest: str) -> str:
        """Keep a finished file here and in the bucket; see `FileStore.keep`."""
        relative = super().keep(temp, folder, sop_instance_uid, digest)
        self._send(relative)
        return relative

    def place(self, temp: Path, descriptor: int, sop_instance_uid: str, digest: str) -> str:
        """Keep a received file here and in the bucket; see `FileStore.place`."""
        relative = super().place(temp, descriptor, sop_instance_uid, digest)
        self._send(relative)
        return relative

    def labels_dir(self, job_id: str) -> Path:
        """Folder for the label maps of one job, with those that another host made."""
        path = super().labels_dir(job_id)
        os.utime(path)
        if not any(path.iterdir()):
            self._fetch_labels(self.labels_path(job_id))
        return path

    def sync_labels(self, job_id: str) -> None:
        """Make the label maps of one job durable, here and in the bucket."""
        super().sync_labels(job_id)
        for path in sorted(super().labels_dir(job_id).iterdir()):
            self._send(str(path.relative_to(self.data_dir)))

    def every_path(self, paths: Iterable[str], job_ids: Iterable[str]) -> Iterator[str]:
        """Relative path of every file with a row, wherever it lies; see `FileStore.every_path`."""
        yield from paths
        for job_id in job_ids:
            yield from self._names(self.labels_path(job_id))

    def hand_out(self) -> int:
        """Send what the bucket does not have; see `FileStore.hand_out`."""
        return sum(self._complete(relative) for relative in super().every_path((), ()))

    def complete(self, relative: str) -> None:
        """Send a file of this host that the bucket does not have."""
        self._complete(relative)

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files, and folders with label maps, from the bucket; what is gone is left out.

        Raises
        ------
        OSError
            When it does not answer, or refuses.
        """
        names = [
            name for path in paths for name in (self._names(path) if is_of_labels(path) else [path])
        ]
        self._tell_of_versions(names)
        try:
            obstore.delete(self._bucket, names)
        except FileNotFoundError as exc:
            if _says_no_bucket(exc):  # what lies in the right one is not gone
                raise _refused(exc) from exc
        except BaseError as exc:
            raise _refused(exc) from exc

    def discard(self, relative: str) -> None:
        """Remove a file that no row promises, here and in the bucket."""
        super().discard(relative)
        self.remove([relative])

    def let_go(self, path: str) -> None:
        """Remove this host's copy of a file, or of a folder with label maps."""
        copy = self.data_dir / path
        with contextlib.suppress(FileNotFoundError):
            if copy.is_dir():
                shutil.rmtree(copy)
            else:
                copy.unlink()

    def _complete(self, relative: str) -> bool:
        if self.is_kept(relative):
            return False
        self._send(relative)
        return True

    def _tell_of_versions(self, names: Iterable[str]) -> None:
        """Say once that a bucket keeps what is deleted there."""
        if self._versions_told or not (first := next(iter(names), None)):
            return
        try:
            kept = obstore.head(self._bucket, first)["version"]
        except FileNotFoundError:
            return
        except BaseError as exc:
            raise _refused(exc) from exc
        if kept not in (None, "null"):
            log.warning("bucket.keeps_versions")
            self._versions_told = True

    def _send(self, relative: str) -> None:
        try:
            obstore.put(self._bucket, relative, super().absolute(relative))
        except (BaseError, FileNotFoundError) as exc:
            raise _refused(exc) from exc

    def _names(self, folder: str) -> list[str]:
        try:
            return [item["path"] for part in obstore.list(self._bucket, folder) for item in part]
        except BaseError as exc:
            raise _refused(exc) from exc

    def _fetch_labels(self, folder: str) -> None:
        """Bring all maps of a job here: part of them would pass for all."""
        for relative in self._names(folder):
            self._fetch(relative, self.data_dir / relative)

    def _fetch(self, relative: str, path: Path) -> None:
        """Bring a file here, whole or not at all; one that is nowhere stays missing."""
        # Several threads may want the same; each has a name of its own until it is whole.
        beside = self.incoming / f"{secrets.token_hex(8)}.fetched"
        try:
            with beside.open("wb") as stream:
                for chunk in obstore.get(self._bucket, relative).stream():
                    stream.write(memoryview(chunk))
                stream.flush()
                # A power loss must not leave an empty file under its name.
                os.fsync(stream.fileno())
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(beside, path)
        except FileNotFoundError as exc:
            if _says_no_bucket(exc):  # no word on the file
                raise _refused(exc) from exc
            return
        except BaseError as exc:
            raise _refused(exc) from exc
        finally:
            beside.unlink(missing_ok=True)


def _connect(settings: BucketSettings) -> S3Store:
    seconds = timedelta(seconds=settings.timeout_seconds)
    secret = settings.secret_access_key
    return S3Store(
        settings.name,
        prefix=settings.prefix or None,
        endpoint=settings.endpoint or None,
        region=settings.region,
        access_key_id=settings.access_key_id or None,
        secret_access_key=secret.get_secret_value() if secret is not None else None,
        client_options={
            "allow_http": settings.endpoint.startswith("http://"),
            "timeout": seconds,
            "connect_timeout": seconds,
        },
        retry_config={"max_retries": _ATTEMPTS - 1, "retry_timeout": seconds},
    )


def _refused(exc: BaseError | FileNotFoundError) -> StorageAway:
    if _says_no_bucket(exc):
        why = "has no bucket of that name; check name and endpoint of [bucket]"
    elif isinstance(exc, _DENIED) or _STATUS_DENIED.search(str(exc)):
        why = "does not let us; check the keys of [bucket], their rights, and this machine's clock"
    else:
        why = f"does not answer as it should ({type(exc).__name__}); check [bucket] and its server"
    return StorageAway(f"The object storage {why}.")


def _says_no_bucket(exc: Exception) -> bool:
    """Whether it is the bucket that is missing, and not one object of it."""
    return "NoSuchBucket" in str(exc)
