"""Which SOP classes we serve, and in which transfer syntaxes (PS3.4 Annex B, PS3.8 7.1.1.13)."""

from __future__ import annotations

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context

from oncopixel_pacs.imaging.codecs import SUPPORTED_TRANSFER_SYNTAXES

#: Every class is stored; which of them a model reads is decided later, with a reason in words.
STORAGE_SOP_CLASSES: tuple[str, ...] = (
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.DigitalMammographyXRayImageStorageForProcessing,
    uid.BreastTomosynthesisImageStorage,
    uid.BreastProjectionXRayImageStorageForPresentation,
    uid.BreastProjectionXRayImageStorageForProcessing,
    uid.DigitalXRayImageStorageForPresentation,
    uid.DigitalXRayImageStorageForProcessing,
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)

#: Verification SOP Class (PS3.4 A.4), C-ECHO.
VERIFICATION = "1.2.840.10008.1.1"
#: Storage Commitment Push Model SOP Class (PS3.4 J.3), N-ACTION and N-EVENT-REPORT.
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
#: For both of them: what they carry are data sets without pixels.
PLAIN_TRANSFER_SYNTAXES: tuple[str, ...] = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


def supported_contexts() -> list[PresentationContext]:
    """Presentation contexts of the acceptor: Verification, commitment and the storage classes."""
    plain = [
        build_context(sop_class, list(PLAIN_TRANSFER_SYNTAXES))
        for sop_class in (VERIFICATION, STORAGE_COMMITMENT)
    ]
    storage = [
        build_context(sop_class, list(SUPPORTED_TRANSFER_SYNTAXES))
        for sop_class in STORAGE_SOP_CLASSES
    ]
    return [*plain, *storage]
