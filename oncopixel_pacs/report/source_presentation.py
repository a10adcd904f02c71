"""How a source image says that it wants to be shown, cleaned so that it can be written again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset

from oncopixel_pacs.imaging.grayscale import Lut, read_lut, read_window
from oncopixel_pacs.report.source_file import MALFORMED, parse_header

_NEEDED = (
    "PhotometricInterpretation",
    "PixelRepresentation",
    "PresentationLUTShape",
    "WindowCenter",
    "WindowWidth",
    "VOILUTFunction",
    "VOILUTSequence",
    "ModalityLUTSequence",
    "RescaleIntercept",
    "RescaleSlope",
)


@dataclass(frozen=True, slots=True)
class SourcePresentation:
    """The grayscale transformations of an image (PS3.4 N.2), the first where there are several.

    Attributes
    ----------
    signed
        Whether stored values are signed, which decides how a LUT counts its first value.
    rescale
        ``(intercept, slope)``; ``None`` when there is no Modality LUT or when it is a table.
    window
        ``(centre, width, function)``; ``None`` when there is a VOI LUT.
    shape
        Presentation LUT Shape (2050,0020), ``IDENTITY`` or ``INVERSE``.
    """

    modality_lut: Lut | None
    rescale: tuple[float, float] | None
    voi_lut: Lut | None
    window: tuple[float, float, str] | None
    signed: bool
    shape: str


def read_presentation(path: Path) -> SourcePresentation:
    """Read the grayscale transformations of a Part 10 file; what is unusable is left out.

    Raises
    ------
    ResultRejected
        When the file is gone, or is not DICOM.
    OSError
        When the disk does not give it now.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # complaints about values that are left out anyway
        raw = parse_header(path, _NEEDED)
        header = _readable(raw)
        modality_lut = read_lut(header, "ModalityLUTSequence")
        voi_lut = read_lut(header, "VOILUTSequence")
        return SourcePresentation(
            modality_lut=modality_lut,
            rescale=None if modality_lut is not None else _rescale(header),
            voi_lut=voi_lut,
            window=None if voi_lut is not None else read_window(header),
            signed=header.get("PixelRepresentation") == 1,
            shape=_shape(header),
        )


def write_lut(lut: Lut, *, signed: bool) -> Dataset:
    """Item of a LUT sequence (PS3.3 C.11.1.1, C.11.2.1.1), each entry in 16 bits.

    Presentation states take entries of 8 or 16 bits alone, whatever the source has.

    Parameters
    ----------
    signed
        Whether the values that are looked up are signed.
    """
    item = Dataset()
    count = len(lut.entries) % 0x10000  # 65536 entries are written as 0
    first = lut.first & 0xFFFF
    vr, first = ("SS", first - 0x10000) if signed and first > 0x7FFF else ("US", first)
    if vr == "SS" and count > 0x7FFF:
        count -= 0x10000
    item.add_new("LUTDescriptor", vr, [count, first, 16])
    item.add_new("LUTData", "OW", np.rint(lut.entries).astype("<u2").tobytes())
    return item


def in_16_bits(lut: Lut) -> Lut:
    """Stretch the entries of a VOI LUT to 16 bits: its output is relative to its bits."""
    stretched = np.clip(lut.entries * np.float32(65535 / (2**lut.bits - 1)), 0, 65535)
    return Lut(lut.first, 16, stretched)


def _readable(raw: Dataset) -> Dataset:
    """Copy what can be converted."""
    header = Dataset()
    for keyword in _NEEDED:
        try:
            if keyword in raw:
                header[keyword] = raw[keyword]
        except MALFORMED:
            continue
    return header


def _rescale(header: Dataset) -> tuple[float, float] | None:
    try:
        intercept, slope = float(header.RescaleIntercept), float(header.RescaleSlope)
    except (AttributeError, TypeError, ValueError):
        return None
    usable = np.isfinite(intercept) and np.isfinite(slope) and slope != 0
    return (intercept, slope) if usable else None


def _shape(header: Dataset) -> str:
    """Polarity: MONOCHROME1 goes with INVERSE and nothing else (PS3.3 C.8.11.7.1.2).

    Where a header contradicts itself, Photometric Interpretation holds: viewers go by it.
    """
    photometric = str(header.get("PhotometricInterpretation") or "").strip().upper()
    return "INVERSE" if photometric == "MONOCHROME1" else "IDENTITY"
