"""Label maps on disk: which stored pixels of an image belong to which finding. No torch here.

One compressed NumPy archive per image with findings: ``labels``, uint8, 0 for background and
``k`` for finding ``k``, of the window that holds them; ``origin``, its first row and column; and
``shape``, the ``(rows, columns)`` of the image. An archive without the latter two, as earlier
versions wrote it, holds the labels of the whole image.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
import zipfile
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs.errors import AnalysisFailed
from oncopixel_pacs.imaging.geometry import window_of

Labels = NDArray[np.uint8]

#: What NumPy and zipfile raise on bytes that are no archive, or not any more.
DAMAGED_ARCHIVE: tuple[type[Exception], ...] = (
    EOFError,
    LookupError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)


def label_map_path(labels_dir: Path, sop_uid: str) -> Path:
    """Where the label map of an image lies; the name is the SHA-256 of its SOP Instance UID."""
    return labels_dir / f"{hashlib.sha256(sop_uid.encode()).hexdigest()}.npz"


def write_label_map(labels_dir: Path, sop_uid: str, labels: Labels) -> Path:
    """Write the label map of one image; readers see the whole file or none.

    Parameters
    ----------
    labels_dir
        Created when missing.
    labels
        ``(rows, columns)``, in stored pixels.
    """
    path = label_map_path(labels_dir, sop_uid)
    labels_dir.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=labels_dir, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            rows, columns = window_of(labels)
            np.savez_compressed(
                stream,
                labels=labels[rows, columns],
                origin=(rows.start, columns.start),
                shape=labels.shape,
            )
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def remove_label_map(labels_dir: Path, sop_uid: str) -> None:
    """Remove the label map of an image that has no findings, should an earlier one lie there."""
    label_map_path(labels_dir, sop_uid).unlink(missing_ok=True)


def read_label_map(labels_dir: Path, sop_uid: str) -> Labels | None:
    """Label map of one image, ``(rows, columns)`` uint8; ``None`` when it has no findings.

    Raises
    ------
    AnalysisFailed
        When the file is there but is not a label map; analysing again writes it anew.
    OSError
        When the disk does not give it now.
    """
    path = label_map_path(labels_dir, sop_uid)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            labels: Labels = archive["labels"]
            if "shape" in archive:
                labels = _placed(labels, archive["origin"], archive["shape"])
    except DAMAGED_ARCHIVE as exc:
        raise AnalysisFailed(
            f"The label map {path.name} cannot be read; analyse the study again."
        ) from exc
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise AnalysisFailed(
            f"The label map {path.name} is not a two-dimensional array of bytes; "
            "analyse the study again."
        )
    return labels


def _placed(window: Labels, origin: NDArray[np.int64], shape: NDArray[np.int64]) -> Labels:
    """Put a window back into its image; raises `ValueError` where it does not fit."""
    top, left = (int(value) for value in origin)
    rows, columns = (int(value) for value in shape)
    height, width = window.shape
    labels = np.zeros((rows, columns), dtype=window.dtype)
    if top < 0 or left < 0 or top + height > rows or left + width > columns:
        raise ValueError("the window lies outside its image")
    labels[top : top + height, left : left + width] = window
    return labels
