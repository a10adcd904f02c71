"""Values of a source header, made to fit their value representation (PS3.5 section 6.2)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime

from pydicom.datadict import dictionary_description, dictionary_VM, tag_for_keyword
from pydicom.valuerep import PersonName

from oncopixel_pacs.report.source_text import TextDecoder

_LONGEST = {"SH": 16, "LO": 64, "PN": 64, "CS": 16, "ST": 1024, "LT": 10240, "AE": 16}
_MULTI_LINE = frozenset({"ST", "LT", "UT"})
_PATTERNS = {
    "TM": re.compile(r"([01]\d|2[0-3])([0-5]\d([0-5]\d)?)?(\.\d{1,6})?"),
    "AS": re.compile(r"\d{3}[DWMY]"),
    "UI": re.compile(r"[0-9]+(\.[0-9]+)*"),
    "CS": re.compile(r"[A-Z0-9 _]*"),
    "DS": re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?"),
    "IS": re.compile(r"[+-]?\d{1,11}"),
}
_OFFSET = re.compile(r"[+-](0\d|1[0-4])[0-5]\d")
# C0 and C1 (PS3.5 section 6.1.3); of C1, no repertoire of the standard has any.
_CONTROL = {code: " " for code in (*range(0x20), *range(0x7F, 0xA0))}
_CONTROL_KEEP_LINES = {code: to for code, to in _CONTROL.items() if code not in (9, 10, 12, 13)}
_ENUMERATED = {
    "PatientSex": frozenset({"M", "F", "O"}),
    "ImageLaterality": frozenset({"L", "R", "B"}),
    "LossyImageCompression": frozenset({"00", "01"}),
    "QualityControlSubject": frozenset({"YES", "NO"}),
    "PatientIdentityRemoved": frozenset({"YES", "NO"}),
}
_SYNONYMS = {"PatientSex": {"FEMALE": "F", "MALE": "M", "OTHER": "O", "W": "F"}}


class Cleaner:
    """Turns raw values into valid ones and notes what it changed, without values.

    Attributes
    ----------
    repairs
        One sentence for each change.
    """

    def __init__(self, decoder: TextDecoder) -> None:
        self._decoder = decoder
        self.repairs: list[str] = []

    def note(self, keyword: str, what: str) -> None:
        """Note a repair once."""
        tag = tag_for_keyword(keyword)
        name = keyword if tag is None else dictionary_description(tag)
        sentence = f"{name} {what}."
        if sentence not in self.repairs:
            self.repairs.append(sentence)

    def value(self, keyword: str, vr: str, raw: object) -> str | list[str]:
        """Give a valid value: text, a list where several values are allowed, or empty."""
        text = self._text(vr, raw)
        tag = tag_for_keyword(keyword)
        several = tag is not None and dictionary_VM(tag) != "1" and vr not in _MULTI_LINE
        if several:
            parts = [self._one(keyword, vr, part) for part in text.split("\\")]
            return parts if all(parts) else []
        if "\\" in text and vr not in _MULTI_LINE:
            text = text.replace("\\", " ")
            self.note(keyword, "held a backslash, which was replaced")
        return self._one(keyword, vr, text)

    def _text(self, vr: str, raw: object) -> str:
        if isinstance(raw, bytes):
            return self._decoder.decode(raw, person_name=vr == "PN")
        return "" if raw is None else str(raw)

    def _one(self, keyword: str, vr: str, text: str) -> str:
        text = _stripped(vr, text)
        if not text:
            return ""
        valid = _valid(keyword, vr, text)
        if not valid:
            self.note(keyword, "held a value that is not allowed, which was dropped")
        elif valid != text:
            self.note(keyword, "was rewritten to fit its value representation")
        return valid


def fits(vr: str, value: object) -> bool:
    """Whether a text is no longer than its VR allows, in characters (PS3.5 6.2).

    Parameters
    ----------
    value
        As pydicom gives it: decoded, a sequence where there are several.
    """
    values = [value] if isinstance(value, str | PersonName) else value
    if not isinstance(values, Sequence):
        return value is None
    groups = (str(item).split("=") if vr == "PN" else [str(item)] for item in values)
    return all(len(group) <= _LONGEST.get(vr, len(group)) for item in groups for group in item)


def _stripped(vr: str, text: str) -> str:
    if vr in _MULTI_LINE:
        return text.translate(_CONTROL_KEEP_LINES).rstrip(" ")
    text = text.translate(_CONTROL)
    return text.rstrip(" ") if vr == "PN" else text.strip(" ")


def _valid(keyword: str, vr: str, text: str) -> str:
    """Nearest valid value, or empty."""
    if vr == "DA":
        return _date(text)
    if vr == "TM":
        text = text.replace(":", "")  # ACR-NEMA form
    if vr == "CS":
        text = text.upper()
        text = _SYNONYMS.get(keyword, {}).get(text, text)
    if keyword == "TimezoneOffsetFromUTC":
        return text if _OFFSET.fullmatch(text) else ""
    if keyword == "PatientAge" and text.isdigit():
        text = f"{text:0>3}Y"
    if keyword in _ENUMERATED and text not in _ENUMERATED[keyword]:
        return ""
    pattern = _PATTERNS.get(vr)
    if pattern is not None and not pattern.fullmatch(text):
        return ""
    return _shortened(vr, text)


def _date(text: str) -> str:
    digits = text.replace(".", "").replace("-", "")  # ACR-NEMA and ISO 8601 forms
    if len(digits) != 8 or not digits.isascii() or not digits.isdigit():
        return ""
    try:
        datetime.strptime(digits, "%Y%m%d")
    except ValueError:
        return ""
    return digits


def _shortened(vr: str, text: str) -> str:
    if vr == "PN":
        groups = text.split("=")[:3]
        return "=".join("^".join(group[:64].split("^")[:5]) for group in groups)
    if vr == "UI":
        return text if len(text) <= 64 else ""
    if vr in ("DS", "IS"):
        return text if len(text) <= 16 else ""
    return text[: _LONGEST.get(vr, len(text))].rstrip(" ")
