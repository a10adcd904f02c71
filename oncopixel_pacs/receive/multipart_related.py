"""Bodies of several parts (RFC 2387), parsed while they arrive."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

MULTIPART_RELATED = "multipart/related"


class MalformedBody(Exception):
    """The body is not what its Content-Type says."""


class PartHandler(Protocol):
    """Takes the parts of a body, one after the other."""

    def begin(self, media_type: str) -> None:
        """Begin a part; the media type is empty when the part does not say."""

    def write(self, data: memoryview) -> None:
        """Take more bytes of the part."""

    def end(self) -> None:
        """End the part: all of its bytes were there."""


class RelatedParser:
    """Feeds the parts of a body to a handler. What the handler raises passes through.

    Parameters
    ----------
    boundary
        From the Content-Type of the body.
    """

    def __init__(self, boundary: bytes, handler: PartHandler) -> None:
        self._handler = handler
        self._name = bytearray()
        self._value = bytearray()
        self._media_type = ""
        self._ended = False
        callbacks: Any = {
            "on_part_begin": self._begin_part,
            "on_header_begin": self._begin_header,
            "on_header_field": self._more_name,
            "on_header_value": self._more_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._data,
            "on_part_end": handler.end,
            "on_end": self._end,
        }
        try:
            self._parser = MultipartParser(boundary, callbacks)
        except FormParserError as exc:
            raise MalformedBody("the boundary is too long") from exc

    def feed(self, chunk: bytes) -> None:
        """Parse the next bytes of the body.

        Raises
        ------
        MalformedBody
            When they do not follow the boundary of the Content-Type.
        """
        if self._ended:
            return  # what comes after the last boundary means nothing (RFC 2046 5.1.1)
        try:
            self._parser.write(chunk)
        except FormParserError as exc:
            raise MalformedBody("it does not follow the boundary of its Content-Type") from exc

    def close(self) -> None:
        """End the body.

        Raises
        ------
        MalformedBody
            When its last boundary is missing.
        """
        if not self._ended:
            raise MalformedBody("its last boundary is missing")

    def _begin_part(self) -> None:
        self._media_type = ""

    def _begin_header(self) -> None:
        self._name.clear()
        self._value.clear()

    def _more_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _more_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        if self._name.lower() == b"content-type":
            self._media_type = media_type_of(self._value.decode("latin-1"))[0]

    def _end_headers(self) -> None:
        self._handler.begin(self._media_type)

    def _data(self, data: bytes, start: int, end: int) -> None:
        self._handler.write(memoryview(data)[start:end])

    def _end(self) -> None:
        self._ended = True


def media_type_of(content_type: str) -> tuple[str, Mapping[str, bytes]]:
    """Media type in small letters and its parameters, from a Content-Type."""
    name, parameters = parse_options_header(content_type)
    return (
        name.decode("latin-1").lower(),
        {key.decode("latin-1").lower(): value for key, value in parameters.items()},
    )
