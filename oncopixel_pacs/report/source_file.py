"""Opens the file of a source image: what is no DICOM is told from a disk that gives nothing now."""

from __future__ import annotations

import errno
import struct
import warnings
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
#: Of a file that is gone, and of pydicom's own errors, which have no number.
_FOR_GOOD = (errno.ENOENT, None)


def parse_header(path: Path, keywords: Sequence[str] | None = None) -> Dataset:
    """Parse the header of a Part 10 file; values are converted when they are asked for.

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
    with warnings.catch_warnings():
        # Complaints about values that are repaired or left out anyway.
        warnings.simplefilter("ignore")
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
