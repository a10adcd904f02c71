"""What text in a header means, where no code says it. Whole words alone count."""

from __future__ import annotations

import re

from oncopixel_pacs.domain import Ordered, View

_VIEWS = {
    "CC": View.CC,
    "CRANIO CAUDAL": View.CC,
    "CRANIOCAUDAL": View.CC,
    "MLO": View.MLO,
    "MEDIO LATERAL OBLIQUE": View.MLO,
    "MEDIOLATERAL OBLIQUE": View.MLO,
}
_SIDE_PREFIXES = ("RIGHT ", "LEFT ", "R ", "L ", "R", "L", "")
_BOTH = {"BILATERAL", "BILAT", "BOTH", "BEIDSEITS", "BDS", "BILATERALE", "BDSEITS", "BILATERALES"}
_ONE = {"UNILATERAL", "UNILAT", "EINSEITIG", "UNILATERALE", "UNI"}
_RIGHT = {"RIGHT", "RT", "RECHTS", "DROIT", "DROITE", "DERECHA", "DESTRA"}
_LEFT = {"LEFT", "LT", "LINKS", "GAUCHE", "IZQUIERDA", "SINISTRA"}
_TEST_OBJECT = re.compile(
    r"\b(PHANTOM|FANTOM|PHANTOME|QC|QUALITY CONTROL|FLAT ?FIELD|CALIBRATION)\b"
)


def view(text: str) -> View | None:
    """Name the screening view that a text names, with or without a side before it."""
    plain = " ".join(re.split(r"[\s_-]+", text.strip().upper()))
    for prefix in _SIDE_PREFIXES:
        if plain.startswith(prefix) and (found := _VIEWS.get(plain.removeprefix(prefix))):
            return found
    return None


def ordered(text: str) -> Ordered | None:
    """Tell which breasts a description of a procedure is about.

    A single letter counts only beside a word such as *unilateral*: alone it may mean anything.
    """
    found = set(re.findall(r"[^\W\d_]+", text.upper()))
    one = bool(found & _ONE)
    right = bool(found & _RIGHT) or (one and "R" in found)
    left = bool(found & _LEFT) or (one and "L" in found)
    if found & _BOTH or (right and left):
        return Ordered.BOTH
    if right or left:
        return Ordered.RIGHT if right else Ordered.LEFT
    return Ordered.ONE if one else None


def names_test_object(text: str) -> bool:
    """Whether a description names a phantom or an image for quality control."""
    return _TEST_OBJECT.search(re.sub(r"[_-]+", " ", text.upper())) is not None
