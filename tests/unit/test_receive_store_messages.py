"""C-STORE messages as bytes, compared with those that pynetdicom and pydicom write and read."""

from __future__ import annotations

import re
from io import BytesIO

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydicom.filebase import DicomIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, JPEG2000Lossless
from pynetdicom.dimse_messages import C_STORE_RQ, C_STORE_RSP
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import create_file_meta, decode

from oncopixel_pacs.receive.status import Answer
from oncopixel_pacs.receive.store_messages import (
    StoreRequest,
    command_elements,
    is_store_request,
    part10_head,
    read_store_request,
    store_response,
)


def library_request(sop_instance_uid: str) -> bytes:
    """Command set of a C-STORE-RQ as pynetdicom encodes it."""
    primitive = C_STORE()
    primitive.MessageID = 258
    primitive.Priority = 2
    primitive.AffectedSOPClassUID = CTImageStorage
    primitive.AffectedSOPInstanceUID = sop_instance_uid
    primitive.DataSet = BytesIO(b"\0\0")
    message = C_STORE_RQ()
    message.primitive_to_message(primitive)
    fragment = next(iter(message.encode_msg(1, 16382)))
    return bytes(fragment.presentation_data_value_list[0][1][1:])


def read(command: bytes) -> StoreRequest:
    elements = command_elements(command)
    assert is_store_request(elements)
    return read_store_request(elements, 1, CTImageStorage, ExplicitVRLittleEndian, "ROOM1")


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
def test_a_request_of_the_library_is_read(uid: str) -> None:
    request = read(library_request(uid))
    assert (request.message_id, request.sop_class_uid) == (258, CTImageStorage)
    assert request.sop_instance_uid == uid
    assert request.has_dataset


@pytest.mark.parametrize("comment", ["", "Disk low", "odd"])
def test_the_library_reads_the_response(comment: str) -> None:
    encoded = store_response(read(library_request("1.2.3")), Answer(0xA700, comment))
    message = C_STORE_RSP()
    message.command_set = decode(BytesIO(encoded), True, True)
    message.data_set = BytesIO()
    response = message.message_to_primitive()
    assert response.Status == 0xA700
    assert response.MessageIDBeingRespondedTo == 258
    assert response.AffectedSOPInstanceUID == "1.2.3"
    assert (response.ErrorComment or "") == comment
    assert message.command_set.CommandGroupLength == len(encoded) - 12


def test_a_uid_that_is_none_is_not_given_back() -> None:
    request = StoreRequest(1, 1, CTImageStorage, "9" * 80, True, "", "", "")
    assert 0x1000 not in command_elements(store_response(request, Answer(0xC000)))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_command_set_or_a_clear_error(content: bytes) -> None:
    try:
        elements = command_elements(content)
        read_store_request(elements, 1, "", "", "")
    except ValueError:
        return
    assert 0x0110 in elements


@given(cut=st.integers(0, 200))
@example(cut=86)
def test_half_a_request_names_no_object(cut: int) -> None:
    command = library_request("1.2.3")
    half = command[: min(cut, len(command) - 1)]
    try:
        request = read_store_request(command_elements(half), 1, "", "", "")
    except ValueError as exc:
        assert re.search("command set|request", str(exc))
    else:
        # Cut where Affected SOP Instance UID begins: it is refused for want of one.
        assert request.sop_instance_uid == ""


@pytest.mark.parametrize("uid", ["1.2.3", "1.2.34"])
@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, JPEG2000Lossless])
def test_the_head_of_the_file_is_what_pydicom_writes(uid: str, syntax: str) -> None:
    expected = BytesIO()
    expected.write(bytes(128) + b"DICM")
    meta = create_file_meta(
        sop_class_uid=CTImageStorage, sop_instance_uid=uid, transfer_syntax=syntax
    )
    write_file_meta_info(DicomIO(expected), meta, enforce_standard=True)
    assert part10_head(CTImageStorage, uid, syntax) == expected.getvalue()
