"""Digests of received data sets.

BLAKE3 says as surely as SHA-256 that bytes are the same, in a third of the time, and for a
large image the digest is the largest part of receiving it. A digest is written with the name
of its algorithm (``blake3:`` and 64 hex digits); one that names none is of SHA-256, by which
objects were known before.

References
----------
J. O'Connor, J.-P. Aumasson, S. Neves, Z. Wilcox-O'Hearn, "BLAKE3: one function, fast
everywhere", 2020; FIPS 180-4 (SHA-256).
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

from blake3 import blake3

Algorithm = Literal["blake3", "sha256"]

#: What objects are digested by as they arrive.
IN_USE: Algorithm = "blake3"
ALGORITHMS: tuple[Algorithm, ...] = ("blake3", "sha256")
_READ_BYTES = 1 << 20


class DatasetDigest:
    """Digest, by the algorithm in use, of bytes that come in pieces.

    Its methods let other threads run while they work on more than some KB.
    """

    def __init__(self, first: memoryview | bytes = b"") -> None:
        self._digest = blake3(first)

    def update(self, piece: memoryview) -> None:
        """Add what follows."""
        self._digest.update(piece)

    def text(self) -> str:
        """Digest of what was added so far, with the name of its algorithm."""
        return f"{IN_USE}:{self._digest.hexdigest()}"


def algorithm_of(digest: str) -> Algorithm:
    """Algorithm of a digest as it is stored."""
    return "blake3" if digest.startswith("blake3:") else "sha256"


def hex_digits(digest: str) -> str:
    """Digest without the name of its algorithm."""
    return digest.rpartition(":")[2]


def dataset_digest(path: Path, offset: int, algorithm: Algorithm = IN_USE) -> str:
    """Digest of the data set as received: the bytes after the file meta information.

    The file meta information is left out because each sender and each path writes its own,
    so a re-sent object stays the same object.

    Parameters
    ----------
    offset
        Position of the data set in the file, bytes.

    Returns
    -------
    str
        As it is stored.

    Raises
    ------
    OSError
        When the file cannot be read.
    """
    with path.open("rb") as stream:
        stream.seek(offset)
        if algorithm == "sha256":
            return hashlib.file_digest(stream, "sha256").hexdigest()
        digest, buffer = DatasetDigest(), memoryview(bytearray(_READ_BYTES))
        while count := stream.readinto(buffer):
            digest.update(buffer[:count])
        return digest.text()
