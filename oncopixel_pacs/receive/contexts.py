"""Which SOP classes we serve, and in which transfer syntaxes (PS3.4 Annex B, PS3.8 7.1.1.13)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import uid
from pynetdicom.presentation import PresentationContext, build_context
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import register_uid, uid_to_service_class

from oncopixel_pacs.errors import ConfigurationError
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
    uid.CTImageStorage,
    uid.MRImageStorage,
    uid.UltrasoundImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.VLMicroscopicImageStorage,
    uid.VLSlideCoordinatesMicroscopicImageStorage,
    uid.VLWholeSlideMicroscopyImageStorage,
    # Rejection notes are such (IHE IOCM).
    uid.KeyObjectSelectionDocumentStorage,
)

#: Verification SOP Class (PS3.4 A.4), C-ECHO.
VERIFICATION = "1.2.840.10008.1.1"
#: Storage Commitment Push Model SOP Class (PS3.4 J.3), N-ACTION and N-EVENT-REPORT.
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
#: For both of them: what they carry are data sets without pixels.
PLAIN_TRANSFER_SYNTAXES: tuple[str, ...] = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")


def _serve(sop_class: str) -> None:
    """Have the library serve C-STORE of a class, which it refuses for classes it does not know."""
    service = uid_to_service_class(sop_class)
    if service is StorageServiceClass:
        return
    if service is not ServiceClass:
        raise ConfigurationError(
            f"{sop_class} is no storage SOP class; correct further_sop_classes in [receive]."
        )
    keyword = f"Storage_{sop_class.replace('.', '_')}"
    register_uid(sop_class, keyword, StorageServiceClass)


def is_storage(sop_class: str) -> bool:
    """Whether objects of a class are stored by C-STORE."""
    return uid_to_service_class(sop_class) is StorageServiceClass


def supported_contexts(further: Sequence[str] = ()) -> list[PresentationContext]:
    """Presentation contexts of the acceptor: Verification, commitment and the storage classes.

    Parameters
    ----------
    further
        Storage SOP classes that are taken besides.

    Raises
    ------
    ConfigurationError
        When one of those belongs to another service.
    """
    for sop_class in further:
        _serve(sop_class)
    plain = [
        build_context(sop_class, list(PLAIN_TRANSFER_SYNTAXES))
        for sop_class in (VERIFICATION, STORAGE_COMMITMENT)
    ]
    # An archive that reports to us is SCP, and calls: it proposes its role (PS3.7 D.3.3.4).
    plain[-1].scu_role = plain[-1].scp_role = True
    storage = [
        build_context(sop_class, list(SUPPORTED_TRANSFER_SYNTAXES))
        for sop_class in dict.fromkeys([*STORAGE_SOP_CLASSES, *further])
    ]
    return [*plain, *storage]
