"""Files in object storage (S3 API), for hosts that share no folder.

The bucket is the truth; each host's data directory is a place for transfers and a cache. An
object counts as kept when both have it, so no host needs another's disk.
"""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from oncopixel_pacs.settings import BucketSettings
from oncopixel_pacs.store.files import KEPT_FOLDERS, FileStore, Folder

_ATTEMPTS = 3


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

    def __init__(self, data_dir: Path, settings: BucketSettings) -> None:
        super().__init__(data_dir)
        self._bucket = _connect(settings)

    def absolute(self, relative: str) -> Path:
        """Absolute path of a stored file, fetched when this host does not have it."""
        path = super().absolute(relative)
        try:
            # What is used stays; see BucketCache.
            os.utime(path, (time.time(), path.stat().st_mtime))
        except FileNotFoundError:
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

    def keep(self, temp: Path, folder: Folder, sop_instance_uid: str, sha256: str) -> str:
        """Keep a finished file here and in the bucket; see `FileStore.keep`."""
        relative = super().keep(temp, folder, sop_instance_uid, sha256)
        self._send(relative)
        return relative

    def place(self, temp: Path, descriptor: int, sop_instance_uid: str, sha256: str) -> str:
        """Keep a received file here and in the bucket; see `FileStore.place`."""
        relative = super().place(temp, descriptor, sop_instance_uid, sha256)
        self._send(relative)
        return relative

    def labels_dir(self, job_id: str) -> Path:
        """Folder for the label maps of one job, with those that another host made."""
        path = super().labels_dir(job_id)
        os.utime(path)
        if not any(path.iterdir()):
            for relative in self._names(self.labels_path(job_id)):
                self._fetch(relative, self.data_dir / relative)
        return path

    def sync_labels(self, job_id: str) -> None:
        """Make the label maps of one job durable, here and in the bucket."""
        super().sync_labels(job_id)
        for path in sorted(super().labels_dir(job_id).iterdir()):
            self._send(str(path.relative_to(self.data_dir)))

    def gather(self, paths: Iterable[str], job_ids: Iterable[str]) -> None:
        """Fetch what this host does not have; see `FileStore.gather`."""
        for relative in paths:
            self.absolute(relative)
        for job_id in job_ids:
            self.labels_dir(job_id)

    def hand_out(self) -> int:
        """Send what the bucket does not have; see `FileStore.hand_out`."""
        sent = 0
        for folder in KEPT_FOLDERS:
            for path in sorted((self.data_dir / folder).rglob("*")):
                relative = str(path.relative_to(self.data_dir))
                if path.is_file() and not self.is_kept(relative):
                    self._send(relative)
                    sent += 1
        return sent

    def _send(self, relative: str) -> None:
        try:
            obstore.put(self._bucket, relative, super().absolute(relative))
        except BaseError as exc:
            raise _refused(exc) from exc

    def _names(self, folder: str) -> list[str]:
        try:
            return [item["path"] for part in obstore.list(self._bucket, folder) for item in part]
        except BaseError as exc:
            raise _refused(exc) from exc

    def _fetch(self, relative: str, path: Path) -> None:
        """Bring a file here, whole or not at all; one that is nowhere stays missing."""
        # Several threads may want the same; each has a name of its own until it is whole.
        beside = self.incoming / f"{secrets.token_hex(8)}.fetched"
        try:
            with beside.open("wb") as stream:
                for chunk in obstore.get(self._bucket, relative).stream():
                    stream.write(memoryview(chunk))
            path.parent.mkdir(parents=True, exist_ok=True)
            os.replace(beside, path)
        except FileNotFoundError:
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


def _refused(exc: BaseError) -> OSError:
    return OSError(
        f"the object storage answers {type(exc).__name__}; check [bucket] and its server"
    )
