"""What a compressed frame says of its own size, read without decoding it."""

from __future__ import annotations

import struct
from itertools import pairwise


def codestream_size(source: bytes) -> tuple[int, int, int]:
    """Read ``(rows, columns, components)`` of a JPEG, JPEG-LS or JPEG 2000 codestream.

    From the start-of-frame marker segment (ITU-T T.81 B.2.2, T.87 C.2.2) or the SIZ marker
    segment (T.800 A.5.1).

    Raises
    ------
    ValueError
        When there is no such marker, or more than one size.
    """
    try:
        if source[:2] == b"\xff\x4f":
            return _size_of_jpeg2000(source)
        if source[:2] == b"\xff\xd8":
            return _size_of_jpeg(source)
    except struct.error as exc:
        raise ValueError("the codestream ends in its header") from exc
    raise ValueError("the frame is no JPEG, JPEG-LS or JPEG 2000 codestream")


def require_rle_segments(source: bytes, segments: int, pixels: int) -> None:
    """Check that the header of an RLE frame (PS3.5 Annex G) fits the header of its image.

    Parameters
    ----------
    segments
        How many there must be: samples per pixel times bytes per sample.
    pixels
        Rows × Columns, one byte of each in every segment.

    Raises
    ------
    ValueError
        When the number of segments is another, or one is too short to hold its pixels.
    """
    if len(source) < 64:
        raise ValueError("the RLE frame ends in its header")
    count, *offsets = struct.unpack_from("<16I", source)
    if count != segments:
        raise ValueError(f"the RLE frame has {count} segments, the header says {segments}")
    for start, end in pairwise([*offsets[:count], len(source)]):
        # The longest run makes 128 bytes of two.
        if start < 64 or (end - start) * 64 < pixels:
            raise ValueError("the RLE frame is cut short, or its offsets are damaged")


def _size_of_jpeg2000(source: bytes) -> tuple[int, int, int]:
    marker, _, _, width, height, left, top = struct.unpack_from(">HHHIIII", source, 2)
    if marker != 0xFF51:
        raise ValueError("the codestream has no SIZ marker")
    (components,) = struct.unpack_from(">H", source, 40)
    return height - top, width - left, components


def _size_of_jpeg(source: bytes) -> tuple[int, int, int]:
    found = []
    position, code = 2, 0
    # Start of scan ends the header.
    while code != 0xDA:
        marker, length = struct.unpack_from(">HH", source, position)
        code = marker & 0xFF
        if marker >> 8 != 0xFF:
            raise ValueError("the codestream has no start of frame")
        # Start of frame is C0 to CF but for DHT, JPG and DAC; F7 in JPEG-LS.
        if (0xC0 <= code <= 0xCF and code not in (0xC4, 0xC8, 0xCC)) or code == 0xF7:
            found.append(struct.unpack_from(">HHB", source, position + 5))
        position += 2 + length if code != 0xFF else 1
    if len(found) != 1:
        raise ValueError(f"the codestream has {len(found)} starts of frame instead of one")
    rows, columns, components = found[0]
    return rows, columns, components
