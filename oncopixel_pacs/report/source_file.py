"""Opens the file of a source image: what is no DICOM is told from a disk that gives nothing now."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from oncopixel_pacs.errors import ResultRejected

#: What pydicom raises on malformed elements.
MALFORMED: tuple[type[Exception], ...] = (
    AttributeError,
    EOFError,
    InvalidDicomError,
    KeyError,
    NotImplementedError,
    TypeError,
    ValueError,
    struct.error,
)
#: Of a file that is gone, of a position that its content makes up, and of pydicom's own errors,
#: which have no number.
_FOR_GOOD = (errno.ENOENT, errno.EINVAL, None)


def parse_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Parse the header of a Part 10 file; values are converted when they are asked for.

    It warns as pydicom does.

    Parameters
    ----------
    keywords
        What is wanted of it; everything when ``None``.

    Raises
    ------
    ResultRejected
        When the file is gone, or is not DICOM.
    OSError
        When the disk does not give it now.
    """
    tags = None if keywords is None else list(keywords)
    try:
        return dcmread(path, stop_before_pixels=True, specific_tags=tags)
    except OSError as exc:
        if exc.errno not in _FOR_GOOD:
            raise
        raise _unreadable(exc) from exc
    except MALFORMED as exc:
        raise _unreadable(exc) from exc


def _unreadable(exc: Exception) -> ResultRejected:
    return ResultRejected(f"The header of a source image cannot be read: {exc}.")
