"""From a PNG, JPEG or TIFF to grey values. Runs in the child process of `unpacking`."""

from __future__ import annotations

import struct
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ExifTags import Base

from oncopixel_pacs.domain.uploads import RefusalKind
from oncopixel_pacs.errors import UploadRefused
from oncopixel_pacs.receive.upload.formats import FileKind

#: Mean difference between colour channels, of 255, up to which a picture counts as grey: what
#: JPEG leaves behind. A single coloured mark on a grey picture is above the second.
_GREY_MEAN = 2.0
_GREY_MOST = 48
_WHITE_IS_ZERO = 0
#: Rows and Columns are of VR US (PS3.3 C.7.6.3.1).
_LONGEST_SIDE = 0xFFFF

_DAMAGED: tuple[type[Exception], ...] = (
    AttributeError,
    EOFError,
    LookupError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)


@dataclass(frozen=True, slots=True)
class GreyPicture:
    """A picture as grey values, upright.

    Attributes
    ----------
    pixels
        uint8 or uint16 ``(rows, columns)``, high values bright.
    lossy
        Whether it was compressed with loss, as JPEG is.
    """

    pixels: NDArray[Any]
    lossy: bool


def read_picture(path: Path, kind: FileKind, max_pixels: int) -> GreyPicture:
    """Decode a picture to grey.

    Raises
    ------
    UploadRefused
        With one sentence, when it is damaged, too large, in colour, transparent, of several
        pages, or of a sort that says nothing sure about grey.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Image.MAX_IMAGE_PIXELS = None  # the limit below is ours, and looks before decoding
        try:
            with Image.open(path, formats=[kind.value]) as image:
                _require_size(image, max_pixels)
                _require_one_page(image)
                lossy = kind is FileKind.JPEG or _compression(image) == "jpeg"
                return GreyPicture(_grey(image, path, kind), lossy)
        except UploadRefused:
            raise
        except MemoryError as exc:
            raise _refused("needs more memory than a picture may") from exc
        except _DAMAGED as exc:
            raise _refused("is damaged and cannot be decoded; export it again") from exc


def _require_size(image: Image.Image, max_pixels: int) -> None:
    pixels = image.width * image.height
    if not 0 < pixels <= max_pixels:
        raise UploadRefused(
            RefusalKind.TOO_LARGE,
            f"The picture has {image.width} x {image.height} pixels; "
            f"at most {max_pixels} are taken.",
        )
    if max(image.size) > _LONGEST_SIDE:
        raise UploadRefused(
            RefusalKind.TOO_LARGE,
            f"The picture has {image.width} x {image.height} pixels; "
            f"an image of DICOM has at most {_LONGEST_SIDE} on a side.",
        )


def _require_one_page(image: Image.Image) -> None:
    try:
        image.seek(1)
    except EOFError:
        image.seek(0)
        return
    raise _refused("has more than one page or frame; send each as a file of its own")


def _grey(image: Image.Image, path: Path, kind: FileKind) -> NDArray[Any]:
    mode = image.mode
    white_is_zero = _tag(image, Base.PhotometricInterpretation) == _WHITE_IS_ZERO
    if kind is FileKind.PNG and _png_depth(path) == 16 and not mode.startswith("I"):
        raise _refused("has 16 bits in each of several channels; export it as 16 bit grey")
    upright = ImageOps.exif_transpose(image)
    if mode.startswith("I"):
        return _sixteen_bit(upright, invert=white_is_zero)
    if mode in ("1", "L"):
        return np.asarray(upright.convert("L"))  # Pillow inverts WhiteIsZero of these
    if mode in ("P", "PA", "LA", "RGB", "RGBA"):
        return _from_channels(upright)
    raise _refused(f"is of the kind {mode}; export it as grey of 8 or 16 bits")


def _sixteen_bit(image: Image.Image, *, invert: bool) -> NDArray[Any]:
    values = np.asarray(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise _refused("has values outside 0 to 65535; export it as grey of 16 bits")
    stored = values.astype(np.uint16)
    return np.uint16(0xFFFF) - stored if invert else stored


def _from_channels(image: Image.Image) -> NDArray[Any]:
    if "A" in image.getbands() or "transparency" in image.info:
        image = image.convert("RGBA")
        if np.asarray(image.getchannel("A")).min() < 255:
            raise _refused("has transparent parts; export it without transparency")
    colours = np.asarray(image.convert("RGB"))
    spread = colours.max(axis=2) - colours.min(axis=2)
    if spread.mean() > _GREY_MEAN or spread.max() > _GREY_MOST:
        raise _refused("is in colour or carries coloured marks, a mammogram is grey")
    return np.asarray(image.convert("L"))


def _png_depth(path: Path) -> int:
    """Bits of a channel in a PNG (IHDR), which Pillow lowers to 8 without a word."""
    with path.open("rb") as stream:
        return stream.read(25)[24]


def _compression(image: Image.Image) -> str:
    return str(image.info.get("compression", ""))


def _tag(image: Image.Image, tag: int) -> Any:
    tags = getattr(image, "tag_v2", None)
    return None if tags is None else tags.get(int(tag))


def _refused(why: str) -> UploadRefused:
    return UploadRefused(RefusalKind.UNACCEPTABLE, f"The picture {why}.")
