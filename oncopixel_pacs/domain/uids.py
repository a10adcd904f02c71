"""UIDs that are derived, never drawn: the same result has the same UID wherever it is built."""

from __future__ import annotations

import hashlib


def derive_uid(*parts: str) -> str:
    """UID under 2.25 from the SHA-256 of the parts.

    The first 16 bytes of the digest become a version 8 UUID (RFC 9562, section 5.8), which
    PS3.5 B.2 turns into a UID of at most 44 characters.

    Parameters
    ----------
    *parts
        What the UID stands for, from the general to the particular; at least one.
    """
    digest = bytearray(hashlib.sha256("\x1f".join(parts).encode()).digest()[:16])
    digest[6] = (digest[6] & 0x0F) | 0x80
    digest[8] = (digest[8] & 0x3F) | 0x80
    return f"2.25.{int.from_bytes(digest, 'big')}"
