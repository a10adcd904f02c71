"""Text of a source header: from bytes in whatever character set it claims to `str`."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, field

from pydicom.charset import STAND_ALONE_ENCODINGS, decode_bytes, encode_string, python_encoding
from pydicom.valuerep import TEXT_VR_DELIMS, PersonName

UTF_8 = ("ISO_IR 192",)
_MISSPELLED = re.compile(r"ISO[-_ ]?(?P<extended>2022[-_ ]?)?IR[-_ ]?(?P<number>\d+)")
_DEFAULT_REPERTOIRE = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})


@dataclass(slots=True)
class TextDecoder:
    """Decodes text values and finds out whether results can use the same character set.

    Attributes
    ----------
    terms
        Defined terms of Specific Character Set (0008,0005) as far as they are usable; empty
        when unknown or absent.
    repairs
        Sentences on what was wrong, without values.
    """

    terms: tuple[str, ...]
    repairs: list[str] = field(default_factory=list)
    _faithful: bool = True

    @classmethod
    def for_terms(cls, terms: tuple[str, ...]) -> TextDecoder:
        """Make a decoder for the values of Specific Character Set as the source has them."""
        spelled = tuple(_respelled(term) for term in terms)
        decoder = cls._for_valid_terms(spelled)
        if spelled != terms:
            decoder.repairs.append("Specific Character Set was misspelled.")
        return decoder

    @classmethod
    def _for_valid_terms(cls, terms: tuple[str, ...]) -> TextDecoder:
        if all(term in _DEFAULT_REPERTOIRE for term in terms):
            return cls(())
        unknown = [term for term in terms if term not in python_encoding]
        if unknown:
            return cls((), ["Specific Character Set is unknown; the text was taken as UTF-8."])
        stand_alone = set(STAND_ALONE_ENCODINGS)
        if len(terms) > 1 and stand_alone.intersection(terms):
            first = terms[0] if terms[0] in stand_alone else ""
            kept = (first,) if first else tuple(t for t in terms if t not in stand_alone)
            note = "Specific Character Set combined what cannot be combined; the rest was dropped."
            return cls(kept, [note])
        return cls(terms)

    @property
    def result_character_set(self) -> tuple[str, ...]:
        """Specific Character Set of the results: the source's own, or UTF-8."""
        return self.terms if self.terms and self._faithful else UTF_8

    def decode(self, raw: bytes, *, person_name: bool) -> str:
        """Decode one element's value; bytes that do not fit are taken as UTF-8, else Latin-1."""
        raw = raw.rstrip(b" \0")
        if not raw or raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii")
        encodings = [python_encoding[term] for term in self.terms]
        text = _strict(raw, encodings, person_name) if encodings else None
        if text is not None:
            self._faithful &= _encode(text, encodings, person_name) == raw
            return text
        self._give_up()
        try:
            return raw.decode("utf-8")
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def _give_up(self) -> None:
        self._faithful = False
        note = "Text did not fit Specific Character Set; it was taken as UTF-8 or Latin-1."
        if note not in self.repairs:
            self.repairs.append(note)


def _respelled(term: str) -> str:
    match = _MISSPELLED.fullmatch(term.upper())
    if match is None:
        return term
    return f"ISO 2022 IR {match['number']}" if match["extended"] else f"ISO_IR {match['number']}"


def _strict(raw: bytes, encodings: list[str], person_name: bool) -> str | None:
    with warnings.catch_warnings():
        # The library replaces what it cannot decode, with a warning.
        warnings.simplefilter("error")
        try:
            if person_name:
                return "\\".join(str(PersonName(part, encodings)) for part in raw.split(b"\\"))
            return decode_bytes(raw, encodings, TEXT_VR_DELIMS)
        except (UnicodeError, LookupError, UserWarning):
            return None


def _encode(text: str, encodings: list[str], person_name: bool) -> bytes | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if person_name:
                return b"\\".join(PersonName(part).encode(encodings) for part in text.split("\\"))
            return encode_string(text, encodings)
        except (UnicodeError, LookupError, UserWarning):
            return None
