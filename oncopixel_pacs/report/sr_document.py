"""What every structured report carries besides its content tree (PS3.3 A.35, C.17.2)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Algorithm
from oncopixel_pacs.domain.facts import MANUFACTURER
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import Relation, code, sop_reference, text, uid_reference
from oncopixel_pacs.report.provenance import (
    MODEL_NAME,
    Provenance,
    parameters,
    sign,
)
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import SourceHeader


def document(
    sop_class_uid: str,
    template: str,
    content: Dataset,
    source: SourceHeader,
    provenance: Provenance,
    uids: ObjectUids,
    description: str,
    instance_number: int,
) -> Dataset:
    """Put a content tree into a document of the source's study.

    Parameters
    ----------
    template
        Identifier of the root template, such as ``1500``.
    content
        Root container.
    source
        Header of an image of the study.
    description
        Series Description (0008,103E).
    instance_number
        Instance Number (0020,0013) in the series of documents.

    Returns
    -------
    Dataset
        Without File Meta Information, evidence and references.
    """
    dataset = Dataset()
    dataset.update(content)
    root_template = Dataset()
    root_template.MappingResource = "DCMR"
    root_template.TemplateIdentifier = template
    dataset.ContentTemplateSequence = [root_template]
    source.adopt(dataset)
    dataset.SOPClassUID = sop_class_uid
    dataset.SOPInstanceUID = uids.sop_instance_uid
    dataset.Modality = "SR"
    dataset.SeriesInstanceUID = uids.series_instance_uid
    dataset.SeriesNumber = uids.series_number
    dataset.SeriesDescription = description
    dataset.InstanceNumber = instance_number
    dataset.CompletionFlag = "COMPLETE"
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.PreliminaryFlag = "PRELIMINARY"
    dataset.ReferencedPerformedProcedureStepSequence = []
    dataset.PerformedProcedureCodeSequence = []
    dataset.ReferencedRequestSequence = [request_item(source.dataset)]
    sign(dataset, source.dataset, provenance)
    return dataset


def refer_to(
    dataset: Dataset, evidence: Iterable[Dataset], predecessors: Sequence[Dataset]
) -> None:
    """Write evidence and predecessors of a document, in place.

    Evidence of the same study is of the current procedure, all other is pertinent.
    """
    instances = list(evidence)
    study = dataset.StudyInstanceUID
    current = [item for item in instances if item.StudyInstanceUID == study]
    other = [item for item in instances if item.StudyInstanceUID != study]
    if current:
        dataset.CurrentRequestedProcedureEvidenceSequence = _hierarchy(current)
    if other:
        dataset.PertinentOtherEvidenceSequence = _hierarchy(other)
    if predecessors:
        dataset.PredecessorDocumentsSequence = _hierarchy(predecessors)


def observer_context(provenance: Provenance) -> list[Dataset]:
    """Observation context of a device, PS3.16 TID 1001, 1002 and 1004."""
    context = Relation.HAS_OBS_CONTEXT
    return [
        code(context, codes.OBSERVER_TYPE, codes.DEVICE),
        uid_reference(
            context, codes.DEVICE_OBSERVER_UID, derive_uid("observer", provenance.digest)
        ),
        text(context, codes.DEVICE_OBSERVER_NAME, MODEL_NAME),
        text(context, codes.DEVICE_OBSERVER_MANUFACTURER, MANUFACTURER),
        text(context, codes.DEVICE_OBSERVER_MODEL, MODEL_NAME),
        text(context, codes.DEVICE_OBSERVER_SERIAL, provenance.serial_number),
    ]


def algorithm_items(
    algorithm: Algorithm, provenance: Provenance, relation: Relation = Relation.HAS_CONCEPT_MOD
) -> list[Dataset]:
    """Algorithm identification, PS3.16 TID 4019; of a measurement unless `relation` is given."""
    return [
        text(relation, codes.ALGORITHM_NAME, algorithm.name),
        text(relation, codes.ALGORITHM_VERSION, algorithm.version),
        *(
            text(relation, codes.ALGORITHM_PARAMETERS, f"{name}={value}")
            for name, value in parameters(algorithm, provenance).items()
        ),
    ]


def request_item(header: Dataset) -> Dataset:
    """Item of Referenced Request Sequence (0040,A370)."""
    steps = header.get("RequestAttributesSequence") or [Dataset()]
    item = Dataset()
    item.StudyInstanceUID = header.StudyInstanceUID
    item.ReferencedStudySequence = []
    item.AccessionNumber = header.AccessionNumber
    item.PlacerOrderNumberImagingServiceRequest = ""
    item.FillerOrderNumberImagingServiceRequest = ""
    item.RequestedProcedureID = steps[0].get("RequestedProcedureID", "")
    item.RequestedProcedureDescription = steps[0].get("RequestedProcedureDescription", "")
    item.RequestedProcedureCodeSequence = []
    return item


def _hierarchy(instances: Sequence[Dataset]) -> list[Dataset]:
    """Hierarchical SOP Instance Reference Macro, PS3.3 table C.17-3."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for instance in instances:
        series = studies.setdefault(instance.StudyInstanceUID, {})
        series.setdefault(instance.SeriesInstanceUID, []).append(sop_reference(instance))
    items = []
    for study_uid, series in studies.items():
        item = Dataset()
        item.StudyInstanceUID = study_uid
        item.ReferencedSeriesSequence = []
        for series_uid, references in series.items():
            part = Dataset()
            part.SeriesInstanceUID = series_uid
            part.ReferencedSOPSequence = references
            item.ReferencedSeriesSequence.append(part)
        items.append(item)
    return items
