"""C-STORE messages as bytes: the request's command set, the response, the head of the file.

A command set is always Implicit VR Little Endian (PS3.7 6.3.1), and these have eight elements:
building data sets for them costs more than storing a small image.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from pynetdicom import PYNETDICOM_IMPLEMENTATION_UID, PYNETDICOM_IMPLEMENTATION_VERSION

from oncopixel_pacs.receive.status import Answer

C_STORE_RQ = 0x0001
_C_STORE_RSP = 0x8001
_NO_DATA_SET = 0x0101
#: Control header of the last fragment of a command (PS3.8 E.2).
LAST_COMMAND_FRAGMENT = 0x03

_ELEMENT = struct.Struct("<HHI")
_US = struct.Struct("<H")


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """C-STORE-RQ (PS3.7 9.3.1.1) with what was negotiated for its context.

    Attributes
    ----------
    sop_class_uid, sop_instance_uid
        As the command names them: anything a peer may write.
    abstract_syntax, transfer_syntax
        Of the presentation context.
    association_at
        When the connection of its association was made, timezone-aware UTC.
    """

    context_id: int
    message_id: int
    sop_class_uid: str
    sop_instance_uid: str
    has_dataset: bool
    abstract_syntax: str
    transfer_syntax: str
    calling_ae_title: str
    called_ae_title: str = ""
    association_at: datetime | None = None


def command_elements(command: bytes) -> dict[int, bytes]:
    """Split a command set into values by element number; group 0000 is understood.

    Raises
    ------
    ValueError
        When it is not a command set.
    """
    elements: dict[int, bytes] = {}
    position = 0
    while position < len(command):
        if position + 8 > len(command):
            raise ValueError("the command set ends inside an element")
        group, element, length = _ELEMENT.unpack_from(command, position)
        position += 8
        if group != 0 or length > len(command) - position:
            raise ValueError("the command set cannot be parsed")
        elements[element] = command[position : position + length]
        position += length
    return elements


def is_store_request(elements: dict[int, bytes]) -> bool:
    """Whether Command Field (0000,0100) says C-STORE-RQ."""
    return elements.get(0x0100) == _US.pack(C_STORE_RQ)


def read_store_request(
    elements: dict[int, bytes],
    context_id: int,
    abstract_syntax: str,
    transfer_syntax: str,
    calling_ae_title: str,
    called_ae_title: str = "",
    association_at: datetime | None = None,
) -> StoreRequest:
    """Read a C-STORE-RQ.

    Raises
    ------
    ValueError
        When it lacks what an answer needs.
    """
    try:
        (message_id,) = _US.unpack(elements[0x0110])
        (dataset_type,) = _US.unpack(elements[0x0800])
    except (KeyError, struct.error) as exc:
        raise ValueError("the C-STORE request has no message ID or data set type") from exc
    return StoreRequest(
        context_id=context_id,
        message_id=message_id,
        sop_class_uid=_uid(elements.get(0x0002, b"")),
        sop_instance_uid=_uid(elements.get(0x1000, b"")),
        has_dataset=dataset_type != _NO_DATA_SET,
        abstract_syntax=abstract_syntax,
        transfer_syntax=transfer_syntax,
        calling_ae_title=calling_ae_title,
        called_ae_title=called_ae_title,
        association_at=association_at,
    )


def store_response(request: StoreRequest, answer: Answer) -> bytes:
    """Command set of the C-STORE-RSP (PS3.7 9.3.1.2)."""
    body = b"".join(
        (
            _uid_element(0x0002, request.sop_class_uid),
            _element(0x0100, _US.pack(_C_STORE_RSP)),
            _element(0x0120, _US.pack(request.message_id)),
            _element(0x0800, _US.pack(_NO_DATA_SET)),
            _element(0x0900, _US.pack(answer.status)),
            _element(0x0902, _even(answer.comment.encode("ascii"), b" "))
            if answer.comment
            else b"",
            _uid_element(0x1000, request.sop_instance_uid),
        )
    )
    return _element(0x0000, struct.pack("<I", len(body))) + body


def part10_head(sop_class_uid: str, sop_instance_uid: str, transfer_syntax: str) -> bytes:
    """Preamble and File Meta Information (PS3.10 7.1) of a data set that follows."""
    before, after = _meta_around_instance(sop_class_uid, transfer_syntax)
    meta = before + _meta_uid(0x0003, sop_instance_uid) + after
    length = struct.pack("<HH2sHI", 2, 0, b"UL", 4, len(meta))
    return _PREAMBLE + length + meta


_PREAMBLE = bytes(128) + b"DICM"


@lru_cache(maxsize=256)
def _meta_around_instance(sop_class_uid: str, transfer_syntax: str) -> tuple[bytes, bytes]:
    version = struct.pack("<HH2sHI", 2, 0x0001, b"OB", 0, 2) + b"\x00\x01"
    name = _even(PYNETDICOM_IMPLEMENTATION_VERSION.encode(), b" ")
    return (
        version + _meta_uid(0x0002, sop_class_uid),
        _meta_uid(0x0010, transfer_syntax)
        + _meta_uid(0x0012, PYNETDICOM_IMPLEMENTATION_UID)
        + struct.pack("<HH2sH", 2, 0x0013, b"SH", len(name))
        + name,
    )


def _meta_uid(element: int, uid: str) -> bytes:
    value = _even(uid.encode("ascii"), b"\0")
    return struct.pack("<HH2sH", 2, element, b"UI", len(value)) + value


def _uid(value: bytes) -> str:
    return value.decode("ascii", "replace").rstrip("\0 ")


def _uid_element(element: int, uid: str) -> bytes:
    """UID of the request, given back (PS3.7 9.1.1.1: optional); not one that is none."""
    if not uid or len(uid) > 64 or not uid.isascii():
        return b""
    return _element(element, _even(uid.encode("ascii"), b"\0"))


def _element(element: int, value: bytes) -> bytes:
    return _ELEMENT.pack(0, element, len(value)) + value


def _even(value: bytes, padding: bytes) -> bytes:
    return value + padding * (len(value) % 2)
