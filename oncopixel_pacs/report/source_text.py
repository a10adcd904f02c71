"""Text of a source header: from bytes in whatever character set it claims to `str`."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field

from pydicom.charset import STAND_ALONE_ENCODINGS, decode_bytes, encode_string, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS, PersonName

UTF_8 = ("ISO_IR 192",)
_MISSPELLED = re.compile(r"ISO[-_ ]?(?P<extended>2022[-_ ]?)?IR[-_ ]?(?P<number>\d+)")
#: Each resets the character set to the first one (PS3.5 6.1.2.5.3).
_NAME_DELIMITERS = {*PN_DELIMS, ord("="), ord("\\")}
#: Designates ISO 2022 IR 58 (PS3.3 C.12.1.1.2); the library leaves it in the text.
_GB_2312 = "\x1b$)A"
_EXTENDED = "ISO 2022 IR"
#: PS3.3 C.12.1.1.2 since 2020; the library does not know it.
_LATIN_9 = "ISO_IR 203"
_ENCODINGS = {**python_encoding, _LATIN_9: "iso8859_15"}
#: The same text under a name that more readers, and the library that writes it, know.
_WIDER: Mapping[tuple[str, ...], tuple[str, ...]] = {("GBK",): ("GB18030",), (_LATIN_9,): UTF_8}
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
        if len(terms) == 1 and terms[0].startswith(_EXTENDED):
            # Code extensions begin with a second term: one alone is a slip of the sender's.
            plain = terms[0].replace(_EXTENDED, "ISO_IR")
            terms = (plain,) if plain in _ENCODINGS else ("", terms[0])
        unknown = [term for term in terms if term not in _ENCODINGS]
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
        if not (self.terms and self._faithful):
            return UTF_8
        return _WIDER.get(self.terms, self.terms)

    def decode(self, raw: bytes, *, person_name: bool) -> str:
        """Decode one element's value; bytes that do not fit are taken as UTF-8, else Latin-1."""
        raw = raw.rstrip(b" \0")
        if not raw or raw.isascii() and b"\x1b" not in raw:
            return raw.decode("ascii")
        encodings = [_ENCODINGS[term] for term in self.terms]
        text = _strict(raw, encodings, person_name) if encodings else None
        if text is not None:
            same = _encode(text, encodings, person_name) == raw
            # The second byte of a character may be a backslash, at which many readers, dciodvfy
            # among them, take the value apart.
            self._faithful &= same and raw.count(b"\\") == text.count("\\")
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
    """Decode a value as a whole; ``None`` where it does not fit.

    Only then it is taken apart: a character of two bytes may hold the byte of a delimiter, as
    many of JIS X 0208 do, 春 and 井 among them (PS3.5 6.1.2.3 and 6.2.1.1).
    """
    delimiters = _NAME_DELIMITERS if person_name else TEXT_VR_DELIMS
    with warnings.catch_warnings():
        # The library replaces what it cannot decode, with a warning.
        warnings.simplefilter("error")
        try:
            text = decode_bytes(raw, encodings, delimiters).replace(_GB_2312, "")
        except (UnicodeError, LookupError, UserWarning):
            return None
    return "\\".join(part.rstrip("=") for part in text.split("\\")) if person_name else text


def _encode(text: str, encodings: list[str], person_name: bool) -> bytes | None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            if person_name:
                return b"\\".join(PersonName(part).encode(encodings) for part in text.split("\\"))
            return encode_string(text, encodings)
        except (UnicodeError, LookupError, UserWarning):
            return None
