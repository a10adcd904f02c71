"""What a file is: by its first bytes, and by its name, which must agree."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from oncopixel_pacs.domain.uploads import RefusalKind
from oncopixel_pacs.errors import UploadRefused

#: Enough for the preamble and prefix of PS3.10 7.1.
HEAD_BYTES = 132


class FileKind(StrEnum):
    """What can be uploaded."""

    DICOM = "DICOM"
    ZIP = "ZIP"
    PNG = "PNG"
    JPEG = "JPEG"
    TIFF = "TIFF"

    @property
    def picture(self) -> bool:
        """Whether it has no DICOM header and is wrapped."""
        return self not in (FileKind.DICOM, FileKind.ZIP)


_EXTENSIONS: Mapping[str, FileKind] = {
    **dict.fromkeys((".dcm", ".dicom", ".dic", ".ima"), FileKind.DICOM),
    ".zip": FileKind.ZIP,
    ".png": FileKind.PNG,
    **dict.fromkeys((".jpg", ".jpeg", ".jpe"), FileKind.JPEG),
    **dict.fromkeys((".tif", ".tiff"), FileKind.TIFF),
}
_TAKEN = "DICOM, zip, PNG, JPEG and TIFF are taken"


def kind_of(name: str, head: bytes) -> FileKind:
    """Say what a file is.

    Parameters
    ----------
    name
        As the sender gave it; without an extension, or with one that is a number as in names
        made of UIDs, the bytes alone say what it is.
    head
        Its first `HEAD_BYTES` bytes, or fewer.

    Raises
    ------
    UploadRefused
        When it is none of them, or its name says something else.
    """
    extension = Path(name.replace("\\", "/")).suffix.lower()
    named = _EXTENSIONS.get(extension)
    if named is None and extension and not extension[1:].isdigit():
        raise UploadRefused(
            RefusalKind.UNSUPPORTED,
            f"Files that end in {_shown(extension)} are not taken; {_TAKEN}.",
        )
    found = _by_magic(head)
    if found is None:
        what = f"The file is named {extension} but does not begin as one" if named else "The file"
        what = what if named else "The file is of no known kind"
        raise UploadRefused(RefusalKind.UNSUPPORTED, f"{what}; {_TAKEN}.")
    if named not in (None, found):
        raise UploadRefused(
            RefusalKind.UNSUPPORTED,
            f"The file is named {extension} but holds {found}; name it as what it is.",
        )
    return found


def _by_magic(head: bytes) -> FileKind | None:
    if head[128:132] == b"DICM":
        return FileKind.DICOM
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return FileKind.ZIP
    if head.startswith(b"\x89PNG\r\n\x1a\n"):
        return FileKind.PNG
    if head.startswith(b"\xff\xd8\xff"):
        return FileKind.JPEG
    if head.startswith((b"II*\0", b"MM\0*")):
        return FileKind.TIFF
    return None


def _shown(extension: str) -> str:
    plain = "".join(letter for letter in extension if letter.isascii() and letter.isprintable())
    return plain[:12]
