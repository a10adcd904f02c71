"""Key Object Selection of one study: the images with findings and what was made of them.

PS3.3 A.35.4, PS3.16 TID 2010. Written out like the other documents, see `content_items`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.uid import KeyObjectSelectionDocumentStorage

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import (
    Relation,
    composite,
    container,
    image,
    sop_reference,
    text,
)
from oncopixel_pacs.report.provenance import Provenance, sign
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.report.sr_document import observer_context, refer_to, request_item

SERIES_DESCRIPTION = "AI KEY OBJECTS - RESEARCH USE ONLY"


@dataclass(frozen=True, slots=True)
class Made:
    """The result objects of one image.

    Attributes
    ----------
    pictures
        Images among them: segmentation, secondary capture.
    presentation
        Its presentation state, if there is one.
    """

    pictures: tuple[Dataset, ...] = ()
    presentation: Dataset | None = None

    @property
    def all(self) -> tuple[Dataset, ...]:
        """Every one of them."""
        return self.pictures + (() if self.presentation is None else (self.presentation,))


def build_key_objects(
    headers: Mapping[str, SourceHeader],
    result: StudyResult,
    made: Mapping[str, Made],
    reports: Sequence[Dataset],
    provenance: Provenance,
    uids: ObjectUids,
) -> Dataset:
    """Write the key objects of a study.

    Parameters
    ----------
    headers
        Headers of the images by SOP Instance UID.
    result
        What the models say; at least one image has a finding.
    made
        Result objects of each image with findings by the image's SOP Instance UID.
    reports
        Result objects about the whole study.
    provenance
        Who made it.
    uids
        Identity of the new object.

    Returns
    -------
    Dataset
        Without File Meta Information.

    Raises
    ------
    ResultRejected
        When no image has a finding.
    """
    found = [item for item in result.images if item.findings]
    if not found:
        raise ResultRejected("No image has a finding, so there are no key objects.")
    names = ", ".join(f"{item.facts.name} ({len(item.findings)})" for item in found)
    entries: list[Dataset] = []
    evidence: list[Dataset] = []
    for item in found:
        header = headers[item.facts.sop_instance_uid].dataset
        of_image = made[item.facts.sop_instance_uid]
        entries.append(_shown_with(header, of_image.presentation))
        entries += [image(Relation.CONTAINS, None, picture) for picture in of_image.pictures]
        evidence += [header, *of_image.all]
    entries += [composite(Relation.CONTAINS, report) for report in reports]
    content = container(
        codes.OF_INTEREST,
        [
            *observer_context(provenance),
            text(
                Relation.CONTAINS,
                codes.KEY_OBJECT_DESCRIPTION,
                f"{RESEARCH_NOTICE} Images with lesion candidates: {names}.",
            ),
            *entries,
        ],
        relation=None,
    )
    source = headers[found[0].facts.sop_instance_uid]
    dataset = key_object_document(content, source, provenance, uids, SERIES_DESCRIPTION)
    dataset.InstanceNumber = max(result.revision, 1)
    refer_to(dataset, [*evidence, *reports], ())
    return dataset


def _shown_with(header: Dataset, presentation: Dataset | None) -> Dataset:
    """Item for an image, to be shown with its presentation state (PS3.3 C.18.4)."""
    item = image(Relation.CONTAINS, None, header)
    if presentation is not None:
        item.ReferencedSOPSequence[0].ReferencedSOPSequence = [sop_reference(presentation)]
    return item


def key_object_document(
    content: Dataset,
    source: SourceHeader,
    provenance: Provenance,
    uids: ObjectUids,
    description: str,
) -> Dataset:
    """Put the content tree into a document of the source's study (PS3.3 C.17.6)."""
    dataset = Dataset()
    dataset.update(content)
    template = Dataset()
    template.MappingResource = "DCMR"
    template.TemplateIdentifier = "2010"
    dataset.ContentTemplateSequence = [template]
    source.adopt(dataset)
    dataset.SOPClassUID = KeyObjectSelectionDocumentStorage
    dataset.SOPInstanceUID = uids.sop_instance_uid
    dataset.Modality = "KO"
    dataset.SeriesInstanceUID = uids.series_instance_uid
    dataset.SeriesNumber = uids.series_number
    dataset.SeriesDescription = description
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.ReferencedRequestSequence = [request_item(source.dataset)]
    sign(dataset, source.dataset, provenance)
    return dataset
