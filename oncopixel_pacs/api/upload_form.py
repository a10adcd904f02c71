"""Reads a multipart form (RFC 7578) as it comes: files go to disk, never whole into memory."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import anyio
from anyio import to_thread
from fastapi import HTTPException, Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from oncopixel_pacs.domain.least_rate import LeastRate
from oncopixel_pacs.settings.uploads import UploadSettings
from oncopixel_pacs.store.free_space import disk_advice

_FIELD_BYTES = 1024
_MOST_FIELDS = 1000
_HEADER_BYTES = 8192
_PIECE = 1 << 20


@dataclass(slots=True)
class FilePart:
    """One file of a form."""

    name: str
    path: Path
    size_bytes: int = 0
    sha256: str = ""


@dataclass(slots=True)
class Form:
    """What a form held: files in their order, and the values of each field in theirs."""

    files: list[FilePart] = field(default_factory=list)
    fields: dict[str, list[str]] = field(default_factory=dict)


class _FormWriter:
    """Callbacks of the parser: gathers fields and writes files."""

    def __init__(self, boundary: bytes, folder: Path, limits: UploadSettings) -> None:
        self.form = Form()
        self.ended = False
        self._folder = folder
        self._limits = limits
        self._header_name = self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._stream: BinaryIO | None = None
        self._digest = hashlib.sha256()
        self._field: str | None = None
        self._value = b""
        self._count = 0
        self._parser = MultipartParser(
            boundary,
            callbacks={
                "on_part_begin": self._begin,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_header_field": self._on_header_field,
                "on_header_value": self._on_header_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": self._on_headers,
                "on_end": self._on_end,
            },
        )

    def write(self, data: bytes) -> None:
        """Take the next bytes of the body."""
        self._parser.write(data)

    def discard(self) -> None:
        """Remove the files that are still here."""
        if self._stream is not None:
            self._stream.close()
        for item in self.form.files:
            item.path.unlink(missing_ok=True)

    def _begin(self) -> None:
        self._headers, self._field, self._value = {}, None, b""
        self._count += 1
        if self._count > _MOST_FIELDS:
            raise HTTPException(413, f"The form has more than {_MOST_FIELDS} parts; send fewer.")

    def _on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]
        self._bound_header()

    def _on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]
        self._bound_header()

    def _bound_header(self) -> None:
        if len(self._header_name) + len(self._header_value) > _HEADER_BYTES:
            raise HTTPException(400, "A header of the form is too long; shorten the file name.")

    def _on_header_end(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _on_headers(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        name = options.get(b"name")
        if name is None:
            raise HTTPException(400, "A part of the form has no name; send multipart/form-data.")
        if b"filename" not in options:
            self._field = name.decode("utf-8", "replace")
            return
        if len(self.form.files) >= self._limits.max_files:
            raise HTTPException(
                413, f"More than {self._limits.max_files} files were sent; send fewer at a time."
            )
        handle, path = tempfile.mkstemp(dir=self._folder, suffix=".part")
        self._stream = os.fdopen(handle, "wb", buffering=_PIECE)
        self._digest = hashlib.sha256()
        self.form.files.append(FilePart(_plain_name(options[b"filename"]), Path(path)))

    def _data(self, data: bytes, start: int, end: int) -> None:
        piece = data[start:end]
        if self._stream is not None:
            self._stream.write(piece)
            self._digest.update(piece)
            self.form.files[-1].size_bytes += len(piece)
            return
        self._value += piece
        if len(self._value) > _FIELD_BYTES:
            raise HTTPException(413, f"A field is longer than {_FIELD_BYTES} bytes; shorten it.")

    def _end(self) -> None:
        if self._stream is not None:
            self._stream.close()
            self._stream = None
            file = self.form.files[-1]
            file.sha256 = self._digest.hexdigest()
            if not file.name and not file.size_bytes:
                # A browser sends this when no file was chosen.
                self.form.files.pop().path.unlink(missing_ok=True)
        elif self._field is not None:
            value = self._value.decode("utf-8", "replace").strip()
            self.form.fields.setdefault(self._field, []).append(value)

    def _on_end(self) -> None:
        self.ended = True


@asynccontextmanager
async def received_form(
    request: Request, folder: Path, limits: UploadSettings
) -> AsyncIterator[Form]:
    """Receive a form into files of a folder; what is left of them goes afterwards.

    Raises
    ------
    HTTPException
        400 for a form that is not one, 408 when nothing comes any more, 413 when it is too
        long, 415 for another content type, 507 when the disk does not take it.
    """
    writer = _FormWriter(_boundary(request), folder, limits)
    try:
        try:
            await _receive(request, writer.write, limits)
        except FormParserError as exc:
            raise HTTPException(400, "The form cannot be parsed; send it again.") from exc
        except OSError as exc:
            raise HTTPException(
                507, f"The disk does not take the upload ({exc.strerror}); {disk_advice(exc)}."
            ) from exc
        if not writer.ended:
            raise HTTPException(400, "The form ends before its last boundary; send it again.")
        yield writer.form
    finally:
        writer.discard()


def _boundary(request: Request) -> bytes:
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data":
        raise HTTPException(415, "Send the files as multipart/form-data.")
    boundary = options.get(b"boundary", b"")
    if not 0 < len(boundary) <= 70:
        raise HTTPException(400, "The Content-Type has no usable boundary (RFC 2046, 5.1.1).")
    return boundary


async def _receive(
    request: Request, write: Callable[[bytes], None], limits: UploadSettings
) -> None:
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limits.max_bytes:
        raise _too_long(limits)
    stream, rate = request.stream(), LeastRate(limits.stall_seconds)
    waiting, total = bytearray(), 0
    while True:
        piece = await _next_piece(stream, rate)
        total += len(piece)
        if total > limits.max_bytes:
            raise _too_long(limits)
        waiting += piece
        if len(waiting) >= _PIECE or (not piece and waiting):
            await to_thread.run_sync(write, bytes(waiting))
            waiting.clear()
        if not piece:
            return


async def _next_piece(stream: AsyncIterator[bytes], rate: LeastRate) -> bytes:
    """Return the next bytes of a body; empty at its end."""
    try:
        with anyio.fail_after(rate.seconds):
            # The stream says its end by an empty piece, then by stopping.
            return await rate.piece(anext(stream, b"")) or b""
    except TimeoutError as exc:
        raise HTTPException(
            408,
            f"Nothing, or next to nothing, came for {rate.seconds:g} s; send the upload again.",
        ) from exc
    except ClientDisconnect as exc:
        raise HTTPException(400, "The connection ended within the upload.") from exc


def _too_long(limits: UploadSettings) -> HTTPException:
    return HTTPException(
        413,
        f"The upload is longer than {limits.max_bytes / 2**20:g} MiB; send it in parts.",
        headers={"Connection": "close"},
    )


def _plain_name(given: bytes) -> str:
    """Last part of a file name, printable and short; it never becomes a path."""
    name = PurePosixPath(given.decode("utf-8", "replace").replace("\\", "/")).name
    return "".join(letter for letter in name if letter.isprintable())[-120:]
