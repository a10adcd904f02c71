"""C-STORE requests as fragments and PDUs, to be sent in any way that the standard allows."""

from __future__ import annotations

import struct
from io import BytesIO
from typing import Any

from dimse_builder import until
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_dataset
from pynetdicom.dimse_messages import C_STORE_RQ
from pynetdicom.dimse_primitives import C_STORE


def store_command(image: Any, message_id: int = 1) -> bytes:
    """Command set of a C-STORE-RQ."""
    request = C_STORE()
    request.MessageID = message_id
    request.Priority = 2
    request.AffectedSOPClassUID = image.SOPClassUID
    request.AffectedSOPInstanceUID = image.SOPInstanceUID
    request.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(request)
    fragment = next(iter(message.encode_msg(1, 16382)))
    return bytes(fragment.presentation_data_value_list[0][1][1:])


def encoded(image: Any) -> bytes:
    """Encode a data set in Explicit VR Little Endian."""
    target = BytesIO()
    stream = DicomIO(target)
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, image)
    return target.getvalue()


def fragment(context_id: int, content: bytes | memoryview, control: int) -> bytes:
    """One presentation data value item (PS3.8 9.3.5.1)."""
    return struct.pack(">LBB", len(content) + 2, context_id, control) + content


def pdu(*fragments: bytes) -> bytes:
    """P-DATA-TF with some fragments."""
    body = b"".join(fragments)
    return struct.pack(">BxL", 4, len(body)) + body


def pause(assoc: Any) -> None:
    """Keep the sender's own thread from taking the answers, as the library does when it sends."""
    assoc._reactor_checkpoint.clear()
    until(lambda: bool(assoc._is_paused))
