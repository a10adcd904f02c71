"""What the server and the process of a trusted bundle say to each other over two pipes.

Each message is a length (4 bytes, big endian) and so much JSON; a request has the pixels behind
it. Nothing is pickled, and the server believes an answer nothing but numbers and a sentence.
Standard library only; see `confinement`.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from typing import Any

MAX_ANSWER_BYTES = 1_000_000


def write_all(pipe: int, content: bytes | memoryview) -> None:
    """Write everything to a pipe."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(pipe, rest) :]


def write_message(pipe: int, content: Mapping[str, Any]) -> None:
    """Write one message."""
    text = json.dumps(content).encode()
    write_all(pipe, struct.pack(">I", len(text)) + text)


def read_exactly(pipe: int, size: int) -> bytes:
    """Read so many bytes.

    Raises
    ------
    EOFError
        When the other end is closed before.
    """
    content = bytearray()
    while len(content) < size:
        part = os.read(pipe, min(size - len(content), 1 << 20))
        if not part:
            raise EOFError
        content += part
    return bytes(content)


def read_message(pipe: int) -> dict[str, Any]:
    """Read one message, in the process of the bundle."""
    (size,) = struct.unpack(">I", read_exactly(pipe, 4))
    content: dict[str, Any] = json.loads(read_exactly(pipe, size))
    return content
