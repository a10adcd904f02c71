"""Headers as modalities write them: one table of oddities for every test that needs one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from mammogram_builder import SCREENING, write_mammogram
from pydicom import dcmread
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from oncopixel_pacs.report.source_header import TYPE_2

Change = Callable[[Dataset], None]


@dataclass(frozen=True)
class OddHeader:
    """One oddity.

    Attributes
    ----------
    said
        Part of the repair that tells it; empty where nothing needs to be repaired.
    reason
        Why such an image is not analysed; empty where it is.
    """

    name: str
    change: Change
    said: str = ""
    reason: str = ""


def set_raw(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Put bytes into an attribute as they are."""
    tag = Tag(tag_for_keyword(keyword))
    value += b" " * (len(value) % 2)
    dataset._dict[tag] = RawDataElement(tag, dictionary_VR(tag), len(value), value, 0, False, True)


def table(first: int, entries: np.ndarray, bits: int = 12) -> Dataset:
    """Item of a LUT sequence."""
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [len(entries), first, bits])
    item.add_new("LUTData", "OW", entries.astype("<u2").tobytes())
    return item


def text(character_set: bytes | None, name: bytes) -> Change:
    """Name and Specific Character Set as bytes; no character set where it is ``None``."""

    def change(dataset: Dataset) -> None:
        if "SpecificCharacterSet" in dataset:
            del dataset.SpecificCharacterSet
        if character_set is not None:
            set_raw(dataset, "SpecificCharacterSet", character_set)
        set_raw(dataset, "PatientName", name)

    return change


def having(**values: object) -> Change:
    """Attributes with these values; ``None`` leaves one out."""

    def change(dataset: Dataset) -> None:
        for keyword, value in values.items():
            if value is not None:
                setattr(dataset, keyword, value)
            elif keyword in dataset:
                del dataset[keyword]

    return change


def private(dataset: Dataset) -> None:
    block = dataset.private_block(0x0045, "MAKER", create=True)
    block.add_new(0x10, "LO", "secret")
    inner = Dataset()
    inner.private_block(0x0047, "OTHER", create=True).add_new(0x01, "UN", b"\0\1")
    block.add_new(0x11, "SQ", [inner])
    dataset.RequestAttributesSequence = [inner]


def voi_lut(dataset: Dataset) -> None:
    item = table(0, 16 * np.arange(256))
    item.LUTExplanation = "NORMAL"
    dataset.VOILUTSequence = [item]


def broken_voi_lut(dataset: Dataset) -> None:
    dataset.VOILUTSequence = [Dataset()]
    having(WindowCenter=None, WindowWidth=None)(dataset)


_KANJI = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
_HANGUL = (
    b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
)
_KATAKANA = b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J"
_EMPTY = "is missing and was written empty"
_DROPPED = "was dropped"

CHARACTER_SETS = (
    OddHeader("ISO_IR 100", text(b"ISO_IR 100", "Müller^Änne".encode("latin-1"))),
    OddHeader("ISO 2022 IR 87", text(b"\\ISO 2022 IR 87", _KANJI)),
    OddHeader("ISO 2022 IR 13 and 87", text(b"ISO 2022 IR 13\\ISO 2022 IR 87", _KATAKANA)),
    OddHeader("ISO 2022 IR 149", text(b"\\ISO 2022 IR 149", _HANGUL)),
    OddHeader("ISO_IR 192", text(b"ISO_IR 192", "Müller^山田".encode())),
    OddHeader("GB18030", text(b"GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"))),
    OddHeader("ISO_IR 6", text(b"ISO_IR 6", b"Plain^Ascii")),
    OddHeader("empty character set", text(b"", b"Plain^Ascii")),
    OddHeader("no character set", text(None, b"Plain^Ascii")),
    OddHeader("no character set, Latin-1", text(None, b"M\xfcller^A"), "did not fit"),
    OddHeader("misspelled", text(b"ISO-IR 100", b"M\xfcller^A"), "misspelled"),
    OddHeader("unknown", text(b"KLINGON 10", "Müller^山田".encode()), "unknown"),
    OddHeader("ISO_IR 192 extended", text(b"ISO_IR 192\\ISO 2022 IR 87", b"A^B"), "combined"),
)
ATTRIBUTES = (
    *(OddHeader(f"no {keyword}", having(**{keyword: None}), _EMPTY) for keyword in TYPE_2),
    OddHeader("no Type 2 attribute", having(**dict.fromkeys(TYPE_2)), _EMPTY),
    *(
        OddHeader(f"sex {value}", lambda d, v=value: set_raw(d, "PatientSex", v.encode()), said)
        for value, said in {
            "U": _DROPPED,
            "X": _DROPPED,
            "Female": "rewritten",
            "F\\M": "backslash",
            "": "",
        }.items()
    ),
    OddHeader("no orientation", having(PatientOrientation=None), _EMPTY),
    OddHeader(
        "Frame of Reference without geometry",
        having(FrameOfReferenceUID="1.2.3.4", PositionReferenceIndicator=""),
        "no plane in it",
    ),
    OddHeader("private attributes", private, "no valid item"),
    OddHeader("both lateralities", having(Laterality="L")),
    OddHeader("laterality of the series alone", having(ImageLaterality=None, Laterality="R")),
    OddHeader("impossible date", lambda d: set_raw(d, "StudyDate", b"20269999"), _DROPPED),
    OddHeader("time zone by name", lambda d: set_raw(d, "TimezoneOffsetFromUTC", b"CET"), _DROPPED),
)
PRESENTATION = (
    OddHeader(
        "MONOCHROME1",
        having(PhotometricInterpretation="MONOCHROME1", PresentationLUTShape="INVERSE"),
    ),
    OddHeader("MONOCHROME1, IDENTITY", having(PhotometricInterpretation="MONOCHROME1")),
    OddHeader("MONOCHROME2, INVERSE", having(PresentationLUTShape="INVERSE")),
    OddHeader("no shape", having(PresentationLUTShape=None)),
    OddHeader(
        "several windows",
        having(WindowCenter=["2653", "1713"], WindowWidth=["900", "750"], VOILUTFunction="SIGMOID"),
    ),
    OddHeader("window of no width", having(WindowWidth="0")),
    OddHeader("no window", having(WindowCenter=None, WindowWidth=None)),
    OddHeader("VOI LUT", voi_lut),
    OddHeader("broken VOI LUT", broken_voi_lut),
    OddHeader("unknown VOI function", having(VOILUTFunction="WAVY")),
    OddHeader("magnification", having(EstimatedRadiographicMagnificationFactor="1.8")),
    OddHeader("no spacing", having(ImagerPixelSpacing=None), reason="no-pixel-spacing"),
)
ODD_HEADERS = (*CHARACTER_SETS, *ATTRIBUTES, *PRESENTATION)


def write_odd(folder: Path, odd: OddHeader, **identity: str) -> Path:
    """Write the first view of a screening study with this oddity, and nothing else missing."""
    path = write_mammogram(folder, SCREENING[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # broken values are what this file is for
        image = dcmread(path)
        for keyword in TYPE_2:
            setattr(image, keyword, "")
        for keyword, value in identity.items():
            setattr(image, keyword, value)
        odd.change(image)
        image.save_as(path)
    return path
