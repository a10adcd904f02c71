"""From a Part 10 file to what a radiologist sees on the monitor, as an array."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from oncopixel_pacs.domain import ImageFacts, Reason
from oncopixel_pacs.errors import UnreadableImage
from oncopixel_pacs.imaging.codecs import PLUGIN, decode
from oncopixel_pacs.imaging.grayscale import present
from oncopixel_pacs.imaging.header import read_image_facts

#: Decodes the first frame of an image: here, or in a `DecodePool` where the image is foreign.
Decoder = Callable[[Dataset, Path], NDArray[Any]]

#: Larger images than any mammography detector makes are not decoded.
MAX_PIXELS = 8192 * 8192


@dataclass(frozen=True, slots=True)
class Mammogram:
    """One image as it is meant to be looked at.

    Attributes
    ----------
    pixels
        float32 ``(rows, columns)`` in ``[0, 1]``; air is dark, whatever the file's polarity.
    """

    pixels: NDArray[np.float32]
    facts: ImageFacts


def decode_here(dataset: Dataset, _path: Path) -> NDArray[Any]:
    """Decode in this process; for images whose source is trusted."""
    return decode(dataset)


def read_mammogram(path: Path, decoder: Decoder = decode_here) -> Mammogram:
    """Decode an image and apply its own grayscale transformations.

    Parameters
    ----------
    decoder
        Where the decoding is done; a `DecodePool` for images of strangers.

    Raises
    ------
    UnreadableImage
        With the reason: no pixel data, more than one frame, colour, or pixel data that cannot
        be decoded, be it damaged, cut short or of another size than the header says.
    OSError, MemoryError, OutOfResources
        Passing trouble of this machine, which says nothing about the image.
    """
    with quiet():
        stored, dataset, facts = read_stored(path, decoder)
        return Mammogram(present(stored, dataset), facts)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back warnings of the parser, which quote values of the header."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def read_stored(
    path: Path, decoder: Decoder, *, colour: bool = False
) -> tuple[NDArray[Any], Dataset, ImageFacts]:
    """Decode the one frame of an image; see `read_mammogram` for what is raised.

    Parameters
    ----------
    colour
        Whether an image in colour may be read, too.

    Returns
    -------
    tuple
        Stored values ``(rows, columns)``, of RGB ``(rows, columns, 3)``; data set; facts.
    """
    with quiet():
        try:
            dataset = dcmread(path)
            facts = read_image_facts(dataset)
        except (InvalidDicomError, ValueError, EOFError, RecursionError) as exc:
            raise UnreadableImage(
                Reason.UNREADABLE_PIXELS, f"The file cannot be parsed ({type(exc).__name__})."
            ) from exc
        _require_plain(facts, colour)
        if not dataset.get("PixelData"):
            raise UnreadableImage(Reason.NO_PIXEL_DATA, "Pixel Data is empty or not of integers.")
        return _decode(dataset, path, facts, decoder), dataset, facts


def _require_plain(facts: ImageFacts, colour: bool) -> None:
    if not facts.has_pixel_data:
        raise UnreadableImage(Reason.NO_PIXEL_DATA, "")
    if facts.frames != 1:
        raise UnreadableImage(Reason.MULTI_FRAME, f"It has {facts.frames}.")
    grey = facts.samples_per_pixel == 1 and facts.photometric.startswith("MONOCHROME")
    if not grey and not colour:
        raise UnreadableImage(Reason.NOT_MONOCHROME, "")
    if not 0 < facts.rows * facts.columns <= MAX_PIXELS:
        raise UnreadableImage(
            Reason.UNREADABLE_PIXELS,
            f"Rows and Columns are {facts.rows} x {facts.columns}.",
        )


def _decode(dataset: Dataset, path: Path, facts: ImageFacts, decoder: Decoder) -> NDArray[Any]:
    try:
        stored = decoder(dataset, path)
    except (
        AttributeError,
        EOFError,
        IndexError,
        KeyError,
        NotImplementedError,
        RuntimeError,
        TypeError,
        ValueError,
        struct.error,
    ) as exc:
        raise UnreadableImage(Reason.UNREADABLE_PIXELS, _sentence(exc)) from exc
    if stored.shape[:2] != (facts.rows, facts.columns) or stored.shape[2:] not in ((), (3,)):
        raise UnreadableImage(
            Reason.UNREADABLE_PIXELS, "The decoded pixels have another shape than the header says."
        )
    return stored


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # After a colon comes pydicom's list of decoders and what each said; there is one of them.
    said = lines[-1].split(f"{PLUGIN}: ")[-1].strip() if lines else type(error).__name__
    return f"{said[:1].upper()}{said[1:].rstrip('.')}."
