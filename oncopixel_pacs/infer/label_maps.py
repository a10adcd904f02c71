"""Label maps on disk: which stored pixels of an image belong to which finding. No torch here.

One compressed NumPy archive per image with findings, key ``labels``: uint8 of shape
``(rows, columns)``, 0 for background and ``k`` for finding ``k``.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs.errors import AnalysisFailed

Labels = NDArray[np.uint8]


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
            np.savez_compressed(stream, labels=labels)
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
    """
    path = label_map_path(labels_dir, sop_uid)
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            labels: Labels = archive["labels"]
    except FileNotFoundError:
        return None
    except (OSError, EOFError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as exc:
        raise AnalysisFailed(
            f"The label map {path.name} cannot be read; analyse the study again."
        ) from exc
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise AnalysisFailed(
            f"The label map {path.name} is not a two-dimensional array of bytes; "
            "analyse the study again."
        )
    return labels
