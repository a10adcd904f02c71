"""Bodies of several parts come out as they went in, or are called malformed; nothing else."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from oncopixel_pacs.receive.multipart_related import MalformedBody, RelatedParser, media_type_of


class Parts:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.begun: list[str] = []
        self.ended: list[bytes] = []
        self._bytes = b""

    def begin(self, media_type: str) -> None:
        self.begun.append(media_type)
        self._bytes = b""

    def write(self, data: memoryview) -> None:
        self._bytes += bytes(data)

    def end(self) -> None:
        self.ended.append(self._bytes)


#: Bytes that a boundary is made of, so that false beginnings of one are common.
CONTENT = st.binary(max_size=60) | st.text("\r\n-frontie", max_size=60).map(str.encode)


@settings(max_examples=200)
@given(contents=st.lists(CONTENT, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 300)))
def test_parts_are_whole_however_the_body_is_cut(contents: list[bytes], cuts: list[int]) -> None:
    body = b"".join(
        b"--frontier\r\nContent-Type: application/dicom\r\n\r\n" + item + b"\r\n"
        for item in contents
    )
    body += b"--frontier--\r\nwhat comes after means nothing"
    parts = Parts()
    parser = RelatedParser(b"frontier", parts)
    places = [0, *sorted(min(cut, len(body)) for cut in cuts), len(body)]
    for begin, end in zip(places, places[1:], strict=False):
        parser.feed(body[begin:end])
    parser.close()
    assert parts.ended == contents
    assert parts.begun == ["application/dicom"] * len(contents)


@settings(max_examples=200)
@given(body=st.binary(max_size=200) | st.text("\r\n-: Afrontier", max_size=200).map(str.encode))
def test_any_bytes_are_parsed_or_malformed(body: bytes) -> None:
    parser = RelatedParser(b"frontier", Parts())
    with suppress(MalformedBody):
        parser.feed(body)
        parser.close()


def test_headers_are_read_in_any_case_and_may_be_absent() -> None:
    parts = Parts()
    parser = RelatedParser(b"b", parts)
    parser.feed(
        b"--b\r\nX-A: 1\r\ncontent-TYPE: Application/DICOM; transfer-syntax=1.2\r\n\r\n1\r\n"
        b"--b\r\n\r\n2\r\n--b--"
    )
    parser.feed(b"\r\n")
    parser.close()
    assert parts.begun == ["application/dicom", ""]
    assert parts.ended == [b"1", b"2"]


def test_what_a_handler_raises_passes_through() -> None:
    class Refusing(Parts):
        def begin(self, media_type: str) -> None:
            raise PermissionError

    with pytest.raises(PermissionError):
        RelatedParser(b"b", Refusing()).feed(b"--b\r\n\r\n1")


def test_an_end_that_never_comes_is_malformed() -> None:
    parser = RelatedParser(b"b", Parts())
    parser.feed(b"--b\r\n\r\n1\r\n--b\r\n")
    with pytest.raises(MalformedBody, match="last boundary"):
        parser.close()


def test_content_types_as_clients_write_them() -> None:
    name, parameters = media_type_of(
        'Multipart/Related; TYPE="application/dicom"; boundary="a b"; start=x'
    )
    assert (name, parameters["type"], parameters["boundary"]) == (
        "multipart/related",
        b"application/dicom",
        b"a b",
    )
    assert media_type_of("") == ("", {})
