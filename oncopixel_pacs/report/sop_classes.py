"""What each kind of result object is on the wire: its SOP class and its transfer syntax."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from pydicom import uid

from oncopixel_pacs.domain import ObjectKind, SegmentationForm
from oncopixel_pacs.report.provenance import transfer_syntax

_CLASSES: Mapping[ObjectKind, str] = MappingProxyType(
    {
        ObjectKind.SEG: uid.SegmentationStorage,
        ObjectKind.SR: uid.Comprehensive3DSRStorage,
        ObjectKind.CAD_SR: uid.MammographyCADSRStorage,
        ObjectKind.SC: uid.SecondaryCaptureImageStorage,
        ObjectKind.GSPS: uid.GrayscaleSoftcopyPresentationStateStorage,
        ObjectKind.KOS: uid.KeyObjectSelectionDocumentStorage,
        ObjectKind.PDF: uid.EncapsulatedPDFStorage,
        ObjectKind.REJECTION: uid.KeyObjectSelectionDocumentStorage,
    }
)
#: Label Map Segmentation Storage (PS3.4 B.5).
_LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"


def written_as(kind: ObjectKind, form: SegmentationForm) -> tuple[str, str]:
    """Give SOP Class UID and Transfer Syntax UID of a kind, where segmentations have this form."""
    label_map = kind is ObjectKind.SEG and form is SegmentationForm.LABELMAP
    sop_class = _LABEL_MAP if label_map else _CLASSES[kind]
    return sop_class, str(transfer_syntax(kind, form))
