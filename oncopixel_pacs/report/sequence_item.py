"""Items of sequences of result objects."""

from __future__ import annotations

from pydicom.charset import default_encoding
from pydicom.dataset import Dataset


def new_item() -> Dataset:
    """Give an empty item that is written without looking through it again at each level.

    pydicom looks for elements of an ambiguous value representation in the whole object, and then
    once more below each item on the way down, unless the item already is in the encoding in which
    it is written. All result objects are in Explicit VR Little Endian, so this one says so; the
    object itself does not, and is looked through once, with all that it holds.
    """
    item = Dataset()
    item.set_original_encoding(
        is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding
    )
    return item
