"""Where an object of ours should be found in an archive, and what a rejection note takes back."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.errors import DeliveryFailed

_TAGS = [
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "SOPInstanceUID",
    "ConceptNameCodeSequence",
    "CurrentRequestedProcedureEvidenceSequence",
]
#: Document Title of our rejection notes: Rejected for Quality Reasons (PS3.16 CID 7011).
_REJECTED = ("113001", "DCM")


@dataclass(frozen=True, slots=True)
class Place:
    """An object by its UIDs and those of series and study."""

    study: str
    series: str
    sop_instance: str


def read_places(path: Path) -> tuple[Place, tuple[Place, ...]]:
    """Read where a result object belongs, and what it takes back if it is a rejection note.

    Raises
    ------
    DeliveryFailed
        When its file cannot be read.
    """
    try:
        header = dcmread(path, stop_before_pixels=True, specific_tags=list(_TAGS))
    except OSError as exc:
        raise DeliveryFailed(
            f"{path.name} cannot be read ({exc.strerror}); check the data directory.",
            permanent=False,
        ) from exc
    here = Place(
        str(header.StudyInstanceUID), str(header.SeriesInstanceUID), str(header.SOPInstanceUID)
    )
    titles = [
        (item.get("CodeValue"), item.get("CodingSchemeDesignator"))
        for item in header.get("ConceptNameCodeSequence") or ()
    ]
    return here, _evidence(header) if _REJECTED in titles else ()


def _evidence(header: Dataset) -> tuple[Place, ...]:
    return tuple(
        Place(
            str(study.StudyInstanceUID),
            str(series.SeriesInstanceUID),
            str(item.ReferencedSOPInstanceUID),
        )
        for study in header.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    )
