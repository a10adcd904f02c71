"""Which objects a rejection note takes back: IHE Imaging Object Change Management (RAD-66).

A rejection note is a Key Object Selection Document (PS3.3 A.35.4, PS3.16 TID 2010) whose title
says why its objects are not to be used any more.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydicom.dataset import Dataset

from oncopixel_pacs.domain.facts import KEY_OBJECTS

#: PS3.16 CID 7010. Not among them is 113039 (Data Retention Policy Expired): that objects left an
#: archive for their age says nothing against what was read from them.
_TITLES = frozenset(
    {
        "113001",  # Rejected for Quality Reasons
        "113037",  # Rejected for Patient Safety Reasons
        "113038",  # Incorrect Modality Worklist Entry
    }
)
_DESIGNATOR = "DCM"
_MOST_REJECTED = 4096


def read_rejected(dataset: Dataset) -> tuple[str, ...]:
    """Read the SOP Instance UIDs that a rejection note takes back; empty for everything else.

    A note that cannot be read takes nothing back.
    """
    if dataset.get("SOPClassUID") != KEY_OBJECTS:
        return ()
    try:
        (title,) = dataset.ConceptNameCodeSequence
        if title.CodingSchemeDesignator != _DESIGNATOR or title.CodeValue not in _TITLES:
            return ()
        return tuple(dict.fromkeys(_references(dataset)))[:_MOST_REJECTED]
    except Exception:  # values are parsed when they are touched, and a broken one raises anything
        return ()


def _references(dataset: Dataset) -> Iterator[str]:
    for item in dataset.ContentSequence:
        for reference in item.get("ReferencedSOPSequence") or ():
            yield str(reference.ReferencedSOPInstanceUID)
