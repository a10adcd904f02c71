"""What a compressed frame says of its own size, read without decoding it."""

from __future__ import annotations

import struct
from itertools import pairwise

#: End of image (ITU-T T.81 B.2.1, T.87 C.1.1) and end of codestream (T.800 A.4.4) are the same.
_END = b"\xff\xd9"
_CUT_SHORT = "the codestream is cut short"
#: T.800 B.3: Isot has 16 bits.
_MOST_TILES = 65_535


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


def require_complete(source: bytes) -> None:
    """Check that a codestream can hold the pixels that it announces.

    Decoders fill up with grey what is missing and say nothing of it. This finds what is provably
    missing: the end marker, tiles of JPEG 2000, and, of JPEG, more bits than an image can do
    without. Writers may pad with 00 or FF.

    Raises
    ------
    ValueError
        When it is cut short.
    """
    try:
        if not source.rstrip(b"\0\xff").endswith(_END):
            raise ValueError(_CUT_SHORT)
        if source[:2] == b"\xff\x4f":
            _require_tiles(source)
        else:
            _require_jpeg_bits(source)
    except struct.error as exc:
        raise ValueError(_CUT_SHORT) from exc


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
    _, rows, columns, components = _start_of_frame(source)
    return rows, columns, components


def _start_of_frame(source: bytes) -> tuple[int, int, int, int]:
    """Read the second byte of the marker, then rows, columns and components."""
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
            found.append((code, *struct.unpack_from(">HHB", source, position + 5)))
        position += 2 + length if code != 0xFF else 1
    if len(found) != 1:
        raise ValueError(f"the codestream has {len(found)} starts of frame instead of one")
    return found[0]


def _require_jpeg_bits(source: bytes) -> None:
    code, rows, columns, components = _start_of_frame(source)
    samples = rows * columns * components
    # Every sample of the lossless process, and every block of 64 of the sequential ones, has
    # a Huffman code of at least a bit (T.81 F.1.2, H.1.2).
    least_bits = {0xC3: samples, 0xC0: samples // 192, 0xC1: samples // 192}.get(code, 0)
    if len(source) * 8 < least_bits:
        raise ValueError(_CUT_SHORT)


def _require_tiles(source: bytes) -> None:
    """Walk over the tile-parts (T.800 A.4.2): each tile must be there, and end inside."""
    width, height, left, top, tile_width, tile_height, tile_left, tile_top = struct.unpack_from(
        ">IIIIIIII", source, 8
    )
    if not tile_width or not tile_height:
        raise ValueError("the tiles of the codestream have no size")
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if not 0 < tiles <= _MOST_TILES or left < tile_left or top < tile_top:
        raise ValueError(f"the codestream has {tiles} tiles, {_MOST_TILES} are the most")
    seen = set()
    position = _first_tile_part(source)
    while source[position : position + 2] == b"\xff\x90":
        index, length = struct.unpack_from(">HI", source, position + 4)
        seen.add(index)
        # 0 stands for all that is left but the end marker, in the last tile-part alone.
        position = position + length if length else len(source)
    if len(seen) != tiles or position > len(source):
        raise ValueError(_CUT_SHORT)


def _first_tile_part(source: bytes) -> int:
    position = 2
    while True:
        marker, length = struct.unpack_from(">HH", source, position)
        if marker == 0xFF90:
            return position
        if marker >> 8 != 0xFF or length < 2:
            raise ValueError("the header of the codestream is damaged")
        position += 2 + length
