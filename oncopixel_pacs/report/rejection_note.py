"""Key Object rejection note: results that are superseded are taken back (IHE IOCM).

PS3.3 A.35.4, PS3.16 TID 2010; IHE Radiology, Imaging Object Change Management. The title is
Rejected for Quality Reasons: nothing endangered the patient, no worklist entry was wrong, and no
retention time is over, which is what the other three titles say. CID 7011 has no failure that
this would be, so there is no title modifier, and the description tells the reason in words.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import Relation, composite, container, image, text
from oncopixel_pacs.report.key_objects import key_object_document
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.report.sr_document import observer_context, refer_to

SERIES_DESCRIPTION = "AI RETRACTION - RESEARCH USE ONLY"


def build_rejection_note(
    source: SourceHeader,
    result: StudyResult,
    stale: Sequence[Dataset],
    provenance: Provenance,
    uids: ObjectUids,
) -> Dataset:
    """Write the note that takes back earlier results.

    Parameters
    ----------
    source
        Header of an image of the patient whose results they are, or what stands for it.
    result
        What replaces them.
    stale
        Headers of the results that are taken back, at least one.
    provenance
        Who made the new result.
    uids
        Identity of the new object.

    Returns
    -------
    Dataset
        Without File Meta Information.

    Raises
    ------
    ResultRejected
        When there is nothing to take back.
    """
    if not stale:
        raise ResultRejected("A rejection note needs something to reject.")
    analysed = sum(item.analysed for item in result.images)
    reason = (
        f"{RESEARCH_NOTICE} Superseded: the study was analysed again (revision {result.revision}, "
        f"{analysed} images), and these earlier results no longer hold. "
        "The new report replaces them."
        if analysed
        else f"{RESEARCH_NOTICE} Withdrawn: no image of the study can be analysed any more "
        f"(revision {result.revision}), and nothing replaces these earlier results. {_why(result)}"
    )
    content = container(
        codes.REJECTED,
        [
            *observer_context(provenance),
            text(Relation.CONTAINS, codes.KEY_OBJECT_DESCRIPTION, reason),
            *(
                image(Relation.CONTAINS, None, item)
                if "Rows" in item
                else composite(Relation.CONTAINS, item)
                for item in stale
            ),
        ],
        relation=None,
    )
    dataset = key_object_document(content, source, provenance, uids, SERIES_DESCRIPTION)
    dataset.InstanceNumber = max(result.revision, 1)
    refer_to(dataset, stale, ())
    return dataset


def _why(result: StudyResult) -> str:
    """Say for what reasons no image was analysed."""
    return " ".join(sorted({item.reason.sentence for item in result.images if item.reason}))


def rejected_uids(note: Dataset) -> tuple[str, ...]:
    """SOP Instance UIDs of what a note takes back."""
    return tuple(
        str(item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for item in note.ContentSequence
        if item.ValueType in ("IMAGE", "COMPOSITE")
    )
