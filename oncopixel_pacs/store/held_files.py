"""Every file that a row promises, and whether it is there as promised."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path

from oncopixel_pacs.store.backup_folder import Watch
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.promises import promised_digests


@dataclass(frozen=True, slots=True)
class Verification:
    """What came of comparing rows with files.

    Attributes
    ----------
    instances, results
        Received objects and result objects (those in quarantine too) that are as promised.
    damaged
        Relative paths of those that are missing or have other bytes.
    """

    instances: int
    results: int
    damaged: tuple[str, ...]


def verify(
    database: Database,
    files: FileStore,
    is_intact: Callable[[Path, str], bool],
    watch: Watch = iter,
) -> Verification:
    """Compare every file that has a row with the digest in the row.

    Parameters
    ----------
    is_intact
        Tells of a received Part 10 file whether its data set has a digest; files of results are
        digested whole.
    watch
        Every file passes through it; for a display of progress.
    """
    whole = {False: 0, True: 0}
    damaged = []
    for path, digest, received in watch(list(promised_digests(database))):
        check = is_intact if received else _has_digest
        try:
            good = check(files.absolute(path), digest)
        except OSError:
            good = False
        if good:
            whole[received] += 1
        else:
            damaged.append(path)
    return Verification(whole[True], whole[False], tuple(damaged))


def _has_digest(path: Path, sha256: str) -> bool:
    with path.open("rb") as stream:
        return file_digest(stream, "sha256").hexdigest() == sha256
