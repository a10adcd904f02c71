"""Builds what people upload: pictures of mammograms, archives, and what must not be taken."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from mammogram_builder import SCREENING, View2D, pixels_of, write_mammogram
from PIL import Image
from pydicom import dcmread

PIXEL_MM = "0.25"


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    """Write an image in a format."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def grey16(view: View2D = SCREENING[1]) -> np.ndarray:
    """Draw a view with 16 bits: uint16 ``(rows, columns)``."""
    return pixels_of(view) * np.uint16(16)


def grey8(view: View2D = SCREENING[1]) -> np.ndarray:
    """Draw a view with 8 bits: uint8 ``(rows, columns)``."""
    return (pixels_of(view) >> 4).astype(np.uint8)


def png(view: View2D = SCREENING[1]) -> bytes:
    """Write a view as a PNG of 16 bits."""
    return encoded(Image.fromarray(grey16(view)), "PNG")


def dicom(folder: Path, view: View2D = SCREENING[1]) -> bytes:
    """Write a view as a DICOM file."""
    return write_mammogram(folder, view).read_bytes()


def archive(entries: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Pack entries."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as packed:
        for name, content in entries.items():
            packed.writestr(name, content)
    return out.getvalue()


def encrypted_archive(content: bytes) -> bytes:
    """Pack one entry and mark it as encrypted (APPNOTE 4.4.4, bit 0), in both its headers."""
    packed = bytearray(archive({"a.dcm": content}))
    directory = packed.rindex(b"PK\x01\x02")
    packed[6] |= 1
    packed[directory + 8] |= 1
    return bytes(packed)


def phantom_png(name: str) -> bytes:
    """Write a shipped phantom, such as ``R-CC``, as a PNG of 16 bits."""
    folder = files("sample_dicom") / "tiny"
    stored = dcmread(io.BytesIO((folder / f"{name}.dcm").read_bytes())).pixel_array
    return encoded(Image.fromarray((stored * 16).astype(np.uint16)), "PNG")


#: Size of a pixel of the shipped phantoms.
PHANTOM_MM = "0.46875"
