"""Answers of several parts (RFC 2387, PS3.18 8.6), written while they are sent."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi.responses import StreamingResponse

_CHUNK = 1 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One part: its media type with parameters, where it is found, and its bytes in chunks."""

    media_type: str
    location: str
    content: Iterable[bytes]


def multipart_answer(parts: Iterable[Part], media_type: str) -> StreamingResponse:
    """Send parts of one media type one after the other."""
    boundary = secrets.token_hex(16)
    return StreamingResponse(
        _body(parts, boundary),
        headers={"Content-Type": f'multipart/related; type="{media_type}"; boundary="{boundary}"'},
    )


def chunks_of(path: Path, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
    """Bytes of a file, a mebibyte at a time; to its end when no length is given."""
    with path.open("rb") as stream:
        left = path.stat().st_size - offset if length is None else length
        stream.seek(offset)
        while left > 0 and (chunk := stream.read(min(_CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _body(parts: Iterable[Part], boundary: str) -> Iterator[bytes]:
    for part in parts:
        yield (
            f"--{boundary}\r\nContent-Type: {part.media_type}\r\n"
            f"Content-Location: {part.location}\r\n\r\n"
        ).encode("latin-1", "replace")
        yield from part.content
        yield b"\r\n"
    yield f"--{boundary}--\r\n".encode()
