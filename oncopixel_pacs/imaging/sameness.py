"""Whether two files are one object in two encodings, as archives hand on what they compressed.

A SOP Instance keeps its UID when it is encoded without loss in another transfer syntax (PS3.4
B.4.1.3, PS3.3 C.12.1.1.1): then its stored values are the same, and so is every attribute.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset

from oncopixel_pacs.errors import OutOfResources, UnreadableImage
from oncopixel_pacs.imaging.frames import DAMAGED, FrameDecoder, StoredObject, read_object

_UNREADABLE: tuple[type[Exception], ...] = (*DAMAGED, OSError, OutOfResources, UnreadableImage)
_PIXEL_GROUP = 0x7FE0
_LOSSY_IMAGE_COMPRESSION = 0x00282110
#: What who compresses without loss adds: Derivation Description, Derivation Code Sequence.
_OF_THE_ENCODING = (0x00082111, 0x00089215)
#: Values of Lossy Image Compression (PS3.3 C.7.6.1.1.5) that say the same as no value.
_NEVER_LOSSY = ("", "00", None)


def is_same_object(first: Path, second: Path, decoder: FrameDecoder) -> bool:
    """Compare two Part 10 files of grey images of one frame.

    Parameters
    ----------
    decoder
        Where compressed pixels are decoded; a `DecodePool` for images of strangers.

    Returns
    -------
    bool
        Whether every attribute and every stored value is the same, however they are encoded. What
        cannot be read, or not now, is not the same.
    """
    try:
        one, other = read_object(first), read_object(second)
        if not (_is_grey(one) and _is_grey(other)):
            return False
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # their texts quote values of the header
            if list(_attributes(one.header)) != list(_attributes(other.header)):
                return False
        return np.array_equal(one.pixels(0, decoder), other.pixels(0, decoder))
    except _UNREADABLE:
        return False


def _is_grey(image: StoredObject) -> bool:
    return image.frames == 1 and image.header.get("SamplesPerPixel", 1) == 1


def _attributes(header: Dataset) -> Iterator[DataElement]:
    """Give what does not depend on the encoding; elements of other VRs are different ones."""
    for element in header:
        tag = element.tag
        lossless = tag == _LOSSY_IMAGE_COMPRESSION and element.value in _NEVER_LOSSY
        length_of_group = tag.element == 0
        of_the_encoding = tag in _OF_THE_ENCODING or tag.group == _PIXEL_GROUP
        if not (lossless or length_of_group or of_the_encoding):
            yield element
