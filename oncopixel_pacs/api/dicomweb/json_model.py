"""Data sets as DICOM JSON (PS3.18 Annex F); what is large is left behind an address."""

from __future__ import annotations

import json
import struct
from collections.abc import Collection, Iterator
from contextlib import suppress
from typing import Any

from fastapi.responses import Response
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr

from oncopixel_pacs.api.dicomweb.media_types import DICOM_JSON
from oncopixel_pacs.imaging.frames import StoredObject

Json = dict[str, Any]

#: Characters of Base64 above which a value is left behind an address: the largest LUT fits below.
INLINE_CHARACTERS = 256 << 10
_CHARACTER_SET = "00080005"
_UNREADABLE: tuple[type[Exception], ...] = (
    AttributeError,
    LookupError,
    NotImplementedError,
    RecursionError,
    TypeError,
    ValueError,
    struct.error,
)


class DicomJson(Response):
    """An answer in DICOM JSON."""

    media_type = DICOM_JSON

    def render(self, content: Any) -> bytes:
        """Write in ASCII, so that no odd character of a header can break the answer."""
        return json.dumps(content, allow_nan=False).encode()


def metadata_json(stored: StoredObject, address: str) -> Json:
    """Every attribute of an object but its bulk data (PS3.18 10.4.1.1.2).

    Parameters
    ----------
    address
        Of the object; bulk data is ``/bulkdata/`` and the way to the element below it.
    """
    header = stored.header
    with suppress(*_UNREADABLE):
        correct_ambiguous_vr(header, stored.transfer_syntax.is_little_endian)
    paths = {id(item): path for path, item in walk(header)}

    def leave(item: DataElement) -> str:
        return f"{address}/bulkdata/{paths[id(item)]}"

    found: Json = {}
    for tag in list(header.keys()):
        # A value that is not what its VR says stays in the file alone.
        with suppress(*_UNREADABLE):
            found[f"{int(tag):08X}"] = _written(header[tag].to_json_dict(leave, INLINE_CHARACTERS))
    found |= attribute("AvailableTransferSyntaxUID", str(stored.transfer_syntax))
    if stored.tag:
        key = f"{stored.tag:08X}"
        found[key] = {"vr": "OW", "BulkDataURI": f"{address}/bulkdata/{key}"}
    return _in_unicode(found)


def attributes_json(header: Dataset, keywords: Collection[str]) -> Json:
    """Give some attributes; what the header lacks is there without a value (PS3.18 10.6.3.3)."""
    found: Json = {}
    for keyword in keywords:
        tag = tag_for_keyword(keyword)
        if tag is None:
            continue
        try:
            item = _written(header[tag].to_json_dict(lambda _: "", INLINE_CHARACTERS))
        except _UNREADABLE:
            item = {"vr": dictionary_VR(tag).partition(" ")[0]}
        found[f"{tag:08X}"] = item
    return _in_unicode(found)


def attribute(keyword: str, *values: Any) -> Json:
    """One attribute, to be merged into an answer."""
    tag = tag_for_keyword(keyword)
    assert tag is not None  # noqa: S101  keywords are ours
    return {f"{tag:08X}": {"vr": dictionary_VR(tag), **({"Value": list(values)} if values else {})}}


def walk(dataset: Dataset, before: str = "") -> Iterator[tuple[str, DataElement]]:
    """Binary elements with the way to each: tags, and the item number below a sequence."""
    for tag in list(dataset.keys()):
        try:
            item = dataset[tag]
        except _UNREADABLE:
            continue
        path = f"{before}{int(tag):08X}"
        if item.VR == "SQ":
            for number, inner in enumerate(item.value):
                yield from walk(inner, f"{path}/{number}/")
        elif isinstance(item.value, bytes):
            yield path, item


def _written(item: Json) -> Json:
    json.dumps(item, allow_nan=False)  # raises for what JSON cannot say
    return item


def _in_unicode(found: Json) -> Json:
    if _CHARACTER_SET in found:
        found[_CHARACTER_SET] = {"vr": "CS", "Value": ["ISO_IR 192"]}
    return found
