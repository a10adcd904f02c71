"""A result object as its bytes say, read once for all rules.

pydicom converts a value when somebody asks for it, and looks up its keyword each time. Rules ask
every item of a report for the same few attributes again and again, so here each value is converted
once, by pydicom, and found by its keyword.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from pydicom import dcmread
from pydicom.datadict import keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.values import convert_value

_keyword = lru_cache(4096)(keyword_for_tag)


class ParsedItem:
    """A data set or an item of a sequence; attributes are asked for as of a pydicom data set.

    Attributes
    ----------
    sequences
        Keyword and items of each sequence, in the order of their tags.
    uids
        Keyword and values of each element of value representation UI.
    """

    __slots__ = ("_values", "sequences", "uids")

    def __init__(self, dataset: Dataset) -> None:
        self._values: dict[str, Any] = {}
        self.sequences: list[tuple[str, list[ParsedItem]]] = []
        self.uids: list[tuple[str, Sequence[str]]] = []
        for element in dataset.values():
            keyword = _keyword(element.tag)
            vr, value = _converted(dataset, element)
            if vr == "SQ":
                value = [ParsedItem(item) for item in value]
                self.sequences.append((keyword, value))
            elif vr == "UI":
                several = value is not None and not isinstance(value, str)
                self.uids.append((keyword, value if several else (value,)))
            if keyword:  # private ones have none
                self._values[keyword] = value

    def get(self, keyword: str, default: Any = None) -> Any:
        """Value of an attribute, `default` where it is missing."""
        return self._values.get(keyword, default)

    def __contains__(self, keyword: str) -> bool:
        """Whether an attribute is there, empty or not."""
        return keyword in self._values

    def __getattr__(self, keyword: str) -> Any:
        """Value of an attribute; raises `AttributeError` where it is missing."""
        try:
            return self._values[keyword]
        except KeyError:
            raise AttributeError(f"{keyword} is missing") from None


class ParsedObject(ParsedItem):
    """A result object.

    Attributes
    ----------
    dataset
        The same as pydicom has it, for its File Meta Information and for decoders.
    """

    __slots__ = ("dataset",)

    def __init__(self, part10: bytes) -> None:
        self.dataset = dcmread(io.BytesIO(part10))
        super().__init__(self.dataset)


def _converted(dataset: Dataset, element: DataElement | RawDataElement) -> tuple[str, Any]:
    """Value representation and value of an element."""
    if isinstance(element, RawDataElement):
        if element.VR not in {None, "UN"} and element.value is not None:
            # What the data set would do, without an object for each element.
            encoding = dataset.original_character_set
            return element.VR, convert_value(element.VR, element, encoding)
        element = dataset[element.tag]
    return element.VR, element.value
