"""Pixels of the files that the published sets are made of, and shapes drawn into masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.picture import read_picture
from training.datasets.example import Classes, Pixels
from training.datasets.tables import DataSetFault, open_picture, read_grey

Point = tuple[float, float]
"""``(column, row)``, as the published files write them."""


def grey_picture(path: Path) -> Pixels:
    """Read a grey picture, ``(1, rows, columns)`` in [0, 1]."""
    return read_grey(path)[None]


def colour_picture(path: Path) -> Pixels:
    """Read a picture in colour, ``(3, rows, columns)`` in [0, 1]."""
    colours = np.asarray(open_picture(path).convert("RGB"), dtype=np.float32)
    return np.ascontiguousarray(colours.transpose(2, 0, 1)) / np.float32(255.0)


def dicom_picture(path: Path) -> Pixels:
    """Read an image as the server presents it, ``(1 or 3, rows, columns)`` in [0, 1].

    Raises
    ------
    DataSetFault
        When the file is missing, is not DICOM, or its pixels cannot be decoded.
    """
    try:
        return read_picture(path).pixels
    except FileNotFoundError:
        raise DataSetFault(f"There is no {path}; the data set is incomplete.") from None
    except UnreadableImage as exc:
        raise DataSetFault(
            f"{path} cannot be read as an image ({exc}); download it again."
        ) from exc


def dicom_header(path: Path) -> Dataset:
    """Read a DICOM file up to its pixels.

    Raises
    ------
    DataSetFault
        When the file is missing or is not DICOM.
    """
    try:
        return dcmread(path, stop_before_pixels=True)
    except FileNotFoundError:
        raise DataSetFault(f"There is no {path}; the data set is incomplete.") from None
    except (InvalidDicomError, OSError) as exc:
        raise DataSetFault(f"{path} is not a DICOM file; download it again.") from exc


def drawn(
    shape: tuple[int, int],
    polygons: Sequence[Sequence[Point]] = (),
    ellipses: Sequence[tuple[float, float, float, float]] = (),
) -> Classes:
    """Draw outlines into a mask, ``(rows, columns)``, 1 inside.

    Parameters
    ----------
    polygons
        Outlines of `Point`; one or two points mark the pixels that they fall on.
    ellipses
        ``(centre column, centre row, horizontal radius, vertical radius)``.
    """
    canvas = Image.new("L", (shape[1], shape[0]))
    pen = ImageDraw.Draw(canvas)
    for points in polygons:
        if len(points) > 2:
            pen.polygon(list(points), fill=1, outline=1)
        else:
            pen.point(list(points), fill=1)
    for column, row, across, down in ellipses:
        pen.ellipse((column - across, row - down, column + across, row + down), fill=1)
    return np.asarray(canvas, dtype=np.uint8).copy()


def any_of(masks: Sequence[NDArray[np.bool_]]) -> Classes:
    """Join masks of one shape, 1 where any is true."""
    joined: Classes = np.any(np.stack(masks), axis=0).astype(np.uint8)
    return joined
