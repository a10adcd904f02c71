"""The one-page report of one study as a DICOM object: Encapsulated PDF (PS3.3 A.45.1)."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import EncapsulatedPDFStorage

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import ImageResult, StudyResult
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import sop_reference
from oncopixel_pacs.report.provenance import Provenance, local_time, sign
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import SourceHeader

SERIES_DESCRIPTION = "AI PAGE - RESEARCH USE ONLY"


def build_page_report(
    headers: Mapping[str, SourceHeader],
    result: StudyResult,
    draw: Callable[[ImageResult], NDArray[np.uint8]],
    provenance: Provenance,
    uids: ObjectUids,
    card_url: str = "",
) -> Dataset:
    """Write the page of one study.

    Parameters
    ----------
    headers
        Headers by SOP Instance UID: of every analysed image, and of the others as far as they
        can be read.
    result
        What the models say.
    draw
        Picture of an analysed image, see `Pictures.draw`.
    provenance
        Who made it.
    uids
        Identity of the new object.
    card_url
        Where the cards of the models can be read; empty when there is no such place.

    Returns
    -------
    Dataset
        Without File Meta Information.

    Raises
    ------
    ResultRejected
        When no header of the study can be read, or a picture cannot be drawn.
    """
    known = [item for item in result.images if item.facts.sop_instance_uid in headers]
    if not known:
        raise ResultRejected("No header of the study can be read, so there is nothing to report.")
    known.sort(key=lambda item: not item.analysed)
    source = headers[known[0].facts.sop_instance_uid]
    # Here, because its fonts take 15 MB, which a host that only receives does not need.
    from oncopixel_pacs.report.page import draw_page

    page = draw_page(source.dataset, result, draw, provenance, card_url)
    dataset = Dataset()
    source.adopt(dataset)
    dataset.SOPClassUID = EncapsulatedPDFStorage
    dataset.SOPInstanceUID = uids.sop_instance_uid
    dataset.Modality = "DOC"
    dataset.SeriesInstanceUID = uids.series_instance_uid
    dataset.SeriesNumber = uids.series_number
    dataset.SeriesDescription = SERIES_DESCRIPTION
    dataset.ConversionType = "WSD"
    dataset.InstanceNumber = max(result.revision, 1)
    dataset.BurnedInAnnotation = "YES"
    dataset.DocumentTitle = f"AI mammography report. {RESEARCH_NOTICE}"
    dataset.ConceptNameCodeSequence = [codes.code_item(codes.IMAGING_MEASUREMENT_REPORT)]
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.SourceInstanceSequence = [
        sop_reference(headers[item.facts.sop_instance_uid].dataset) for item in known
    ]
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = page + b"\0" * (len(page) % 2)
    dataset.EncapsulatedDocumentLength = len(page)
    sign(dataset, source.dataset, provenance)
    moment = local_time(provenance.created_at, source.dataset)
    dataset.AcquisitionDateTime = moment.strftime("%Y%m%d%H%M%S")
    return dataset
