"""How a mammogram hangs in a reading room: right breast on the left, chest walls back to back."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom.dataset import Dataset

from oncopixel_pacs.domain.facts import ImageFacts, Laterality, View

_VIEWS = {View.CC: 0, View.MLO: 1}
_SIDES = {Laterality.RIGHT: 0, Laterality.LEFT: 1}


@dataclass(frozen=True, slots=True)
class Hanging:
    """What to do with stored pixels before they are hung.

    Attributes
    ----------
    mirror
        Columns run the other way: the chest wall is at the wrong edge.
    upside_down
        Rows run the other way: the feet, or in a CC view the inner side, are on top.
    """

    mirror: bool = False
    upside_down: bool = False


def hanging(dataset: Dataset, facts: ImageFacts) -> Hanging:
    """Tell how an image must be turned, from Patient Orientation (0020,0020), PS3.3 C.7.6.1.1.1.

    A right breast hangs with its chest wall at the right edge, so columns run to posterior; a
    left one the other way. Rows run to the feet in oblique views; in CC views the outer side of
    the breast is on top. Where the header does not say, the image hangs as it is stored.
    """
    values = dataset.get("PatientOrientation") or ()
    along, down = (str(item) for item in values) if len(values) == 2 else ("", "")
    right = facts.laterality is Laterality.RIGHT
    mirror = facts.laterality is not None and along.startswith("A" if right else "P")
    upper = "R" if right else "L"
    upside_down = down.startswith("H") or (facts.view is View.CC and down.startswith(upper))
    return Hanging(mirror, upside_down)


def hanging_order(facts: ImageFacts) -> tuple[int, int, str]:
    """Sort key: R CC, L CC, R MLO, L MLO, then what is neither."""
    view = _VIEWS.get(facts.view, 2) if facts.view else 2
    side = _SIDES.get(facts.laterality, 2) if facts.laterality else 2
    return view, side, facts.sop_instance_uid
