"""What a C-STORE status means for us (PS3.4 B.2.3, PS3.7 Annex C): a table of ranges."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Meaning:
    """Judgement over a range of status codes, both ends included."""

    first: int
    last: int
    accepted: bool
    permanent: bool
    sentence: str


#: Duplicate SOP Instance (PS3.7 C.5.3).
DUPLICATE = 0x0111
#: Coercion of Data Elements (PS3.4 Table B.2-1).
COERCED = 0xB000

MEANINGS: tuple[Meaning, ...] = (
    Meaning(0x0000, 0x0000, True, False, ""),
    Meaning(0x0001, 0x0001, True, False, "It was stored with a warning."),
    Meaning(0x0107, 0x0107, True, False, "It was stored with a warning."),
    Meaning(0x0116, 0x0116, True, False, "It was stored with a warning."),
    # Of an earlier attempt whose answer was lost: the UID is ours, and so is what it names.
    Meaning(DUPLICATE, DUPLICATE, True, False, "It holds an object with this UID already."),
    Meaning(0x0117, 0x0117, False, True, "It says that the object is not valid."),
    Meaning(0x0122, 0x0122, False, True, "It does not take this SOP class."),
    Meaning(0x0124, 0x0124, False, True, "It does not let us store; ask its administrator."),
    Meaning(0x0211, 0x0212, False, True, "It does not understand the request."),
    Meaning(0xA700, 0xA7FF, False, False, "It is out of resources now; look at its disk and log."),
    Meaning(0xA800, 0xA8FF, False, True, "It does not take this SOP class."),
    Meaning(0xA900, 0xA9FF, False, True, "It finds that the object does not match its SOP class."),
    # Service class warnings (PS3.4 Table B.2-1).
    Meaning(COERCED, COERCED, True, False, "It was stored with attributes changed."),
    Meaning(0xB001, 0xB005, True, False, "It was stored with a warning."),
    Meaning(0xB006, 0xB006, True, False, "It was stored without some of its elements."),
    Meaning(0xB007, 0xB007, True, False, "It was stored, though not found to match its SOP class."),
    Meaning(0xB008, 0xBFFF, True, False, "It was stored with a warning."),
    Meaning(0xC000, 0xCFFF, False, True, "It cannot understand the object."),
)

UNKNOWN = Meaning(
    0x0000, 0xFFFF, False, False, "It failed in a way that may pass; look at its log."
)


def meaning_of(status: int) -> Meaning:
    """Judge a status; one that is not in the table counts as a passing failure."""
    for meaning in MEANINGS:
        if meaning.first <= status <= meaning.last:
            return meaning
    return UNKNOWN
