"""Probability maps on disk: what the segmenter answered inside the breast. No torch here.

One compressed NumPy archive per analysed image. It holds the map on the model's own grid, in 256
steps, and the way back to stored pixels; so it is small (tens of kilobytes) whatever the image.
"""

from __future__ import annotations

import hashlib
import io
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs.errors import AnalysisFailed
from oncopixel_pacs.imaging.geometry import Geometry
from oncopixel_pacs.infer.label_maps import DAMAGED_ARCHIVE

STEPS = 255
"""A probability of 1 is kept as this number."""

Probabilities = NDArray[np.uint8]


def probability_map_path(labels_dir: Path, sop_uid: str) -> Path:
    """Where the probability map of an image lies, beside its label map."""
    return labels_dir / f"{hashlib.sha256(sop_uid.encode()).hexdigest()}.probability.npz"


def write_probability_map(
    labels_dir: Path,
    sop_uid: str,
    probability: NDArray[np.float32],
    breast: NDArray[np.bool_],
    geometry: Geometry,
) -> Path:
    """Keep the probability map of one image; readers see the whole file or none.

    Parameters
    ----------
    probability
        ``(height, width)`` on the model's grid, in ``[0, 1]``.
    breast
        ``(height, width)``; outside of it nothing is kept, as nothing is looked for there.
    geometry
        Way from the model's grid to the stored pixels.
    """
    path = probability_map_path(labels_dir, sop_uid)
    labels_dir.mkdir(parents=True, exist_ok=True)
    steps = np.where(breast, np.rint(probability * STEPS), 0).astype(np.uint8)
    handle, name = tempfile.mkstemp(dir=labels_dir, prefix=".", suffix=".part")
    try:
        with os.fdopen(handle, "wb") as stream:
            np.savez_compressed(
                stream,
                steps=steps,
                stored_shape=geometry.stored_shape,
                crop=geometry.crop,
                mirrored=geometry.mirrored,
                content_shape=geometry.content_shape,
            )
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return path


def read_probability_map(labels_dir: Path, sop_uid: str) -> Probabilities | None:
    """Probability map of one image in stored pixels, each with the value of its model pixel.

    Returns
    -------
    ndarray or None
        uint8 ``(rows, columns)``, `STEPS` for a probability of 1; ``None`` when none was kept.

    Raises
    ------
    AnalysisFailed
        When the file is there but is no probability map; analysing again writes it anew.
    OSError
        When the disk does not give it now.
    """
    path = probability_map_path(labels_dir, sop_uid)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            steps = archive["steps"]
            geometry = Geometry(
                stored_shape=_pair(archive["stored_shape"]),
                crop=_four(archive["crop"]),
                mirrored=bool(archive["mirrored"]),
                content_shape=_pair(archive["content_shape"]),
                model_shape=_pair(steps.shape),
            )
        if steps.dtype != np.uint8:
            raise ValueError("not bytes")
        return geometry.labels_to_stored(steps)
    except DAMAGED_ARCHIVE as e:
        raise AnalysisFailed(
            f"The probability map {path.name} cannot be read; analyse the study again."
        ) from e


def _pair(values: NDArray[np.int64] | tuple[int, ...]) -> tuple[int, int]:
    first, second = (int(value) for value in values)
    return first, second


def _four(values: NDArray[np.int64]) -> tuple[int, int, int, int]:
    top, left, height, width = (int(value) for value in values)
    return top, left, height, width
