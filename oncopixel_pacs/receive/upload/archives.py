"""Archives of DICOM files. Runs in the child process of `unpacking`."""

from __future__ import annotations

import stat
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from oncopixel_pacs.domain.uploads import RefusalKind
from oncopixel_pacs.errors import UploadRefused
from oncopixel_pacs.receive.upload.formats import HEAD_BYTES
from oncopixel_pacs.settings.uploads import UploadSettings

#: What archiving programs put beside the files of a person, and media beside their images.
_BESIDE = frozenset({".ds_store", "thumbs.db", "desktop.ini", "dicomdir"})
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_PIECE = 1 << 20
#: Below this size a high ratio is no bomb, only an empty picture.
_SMALL = 16 << 20
_DAMAGED = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of an archive: unpacked to `path`, or left out for the reason in `skipped`."""

    name: str
    path: Path | None = None
    skipped: str = ""


def unpack_archive(
    source: Path, folder: Path, prefix: str, limits: UploadSettings, room_bytes: int
) -> list[Entry]:
    """Unpack the DICOM files of an archive; names in it never become paths.

    Parameters
    ----------
    folder, prefix
        The files are named ``{prefix}-{number}.part`` there; what is there when this raises is
        the caller's to remove.
    room_bytes
        How much it may unpack to.

    Raises
    ------
    UploadRefused
        When it is damaged, encrypted, nested, a bomb, has hostile names or holds no DICOM file.
    OSError
        When the disk does not take it.
    """
    try:
        with zipfile.ZipFile(source) as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
            _require_harmless(infos, source.stat().st_size, limits, room_bytes)
            entries = list(_unpacked(archive, infos, folder, prefix))
    except _DAMAGED as exc:
        raise _refused("is damaged; pack it again") from exc
    if not any(entry.path for entry in entries):
        raise _refused("holds no DICOM file; pictures are uploaded by themselves")
    return entries


def _require_harmless(
    infos: list[zipfile.ZipInfo], packed_bytes: int, limits: UploadSettings, room_bytes: int
) -> None:
    if len(infos) > limits.max_zip_entries:
        raise _too_large(f"has {len(infos)} entries; at most {limits.max_zip_entries} are taken")
    total = sum(info.file_size for info in infos)
    if total > room_bytes:
        raise _too_large(f"unpacks to more than {room_bytes >> 20} MiB")
    if total > _SMALL and total > limits.max_zip_ratio * packed_bytes:
        raise _too_large(f"unpacks to more than {limits.max_zip_ratio} times its size")
    for info in infos:
        _require_harmless_entry(info)


def _require_harmless_entry(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 0x1:
        raise _refused("has encrypted entries; pack it without a password")
    if info.compress_type not in _METHODS:
        raise _refused("uses a compression other than deflate; pack it again")
    name = info.orig_filename.replace("\\", "/")
    if name.startswith("/") or ":" in name[:3] or ".." in PurePosixPath(name).parts:
        raise _refused("has names that lead out of it; pack it again")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise _refused("holds links; pack the files themselves")


def _unpacked(
    archive: zipfile.ZipFile, infos: list[zipfile.ZipInfo], folder: Path, prefix: str
) -> Iterator[Entry]:
    for number, info in enumerate(infos):
        name = PurePosixPath(info.filename)
        if name.name.lower() in _BESIDE or "__MACOSX" in name.parts:
            continue
        with archive.open(info) as stream:
            head = stream.read(HEAD_BYTES)
            if head.startswith(b"PK\x03\x04"):
                raise _refused("holds another archive; unpack that first")
            if head[128:132] != b"DICM":
                yield Entry(info.filename, skipped="It is not a DICOM file.")
                continue
            path = folder / f"{prefix}-{number}.part"
            _copy(head, stream, path, info.file_size)
        yield Entry(info.filename, path)


def _copy(head: bytes, stream: IO[bytes], path: Path, announced: int) -> None:
    size = len(head)
    with path.open("xb") as target:
        target.write(head)
        while piece := stream.read(_PIECE):
            size += len(piece)
            if size > announced:  # the directory lied, and the limits were checked by it
                raise _refused("is damaged; pack it again")
            target.write(piece)


def _refused(why: str) -> UploadRefused:
    return UploadRefused(RefusalKind.UNACCEPTABLE, f"The archive {why}.")


def _too_large(why: str) -> UploadRefused:
    return UploadRefused(RefusalKind.TOO_LARGE, f"The archive {why}.")
