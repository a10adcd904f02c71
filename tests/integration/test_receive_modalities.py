"""Images of every class that we take are stored, and those we do not read get their reason."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Store as Shelf
from dimse_builder import Reception, association, mammogram, reception, store
from pydicom import uid
from workflow_builder import PretendedModel, Works, running

from oncopixel_pacs.domain import JobState, Reason
from oncopixel_pacs.errors import ConfigurationError
from oncopixel_pacs.receive.contexts import STORAGE_SOP_CLASSES, supported_contexts
from oncopixel_pacs.route import why_not
from oncopixel_pacs.settings import ReceiveSettings

#: Modality of an image of each class, where it is not MG.
MODALITIES = {
    uid.DigitalXRayImageStorageForPresentation: "DX",
    uid.DigitalXRayImageStorageForProcessing: "DX",
    uid.SecondaryCaptureImageStorage: "OT",
    uid.MultiFrameSingleBitSecondaryCaptureImageStorage: "OT",
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage: "OT",
    uid.MultiFrameGrayscaleWordSecondaryCaptureImageStorage: "OT",
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage: "OT",
    uid.CTImageStorage: "CT",
    uid.MRImageStorage: "MR",
    uid.UltrasoundImageStorage: "US",
    uid.UltrasoundMultiFrameImageStorage: "US",
    uid.VLMicroscopicImageStorage: "GM",
    uid.VLSlideCoordinatesMicroscopicImageStorage: "SM",
    uid.VLWholeSlideMicroscopyImageStorage: "SM",
}
REASONS = {
    uid.DigitalMammographyXRayImageStorageForPresentation: None,
    uid.DigitalMammographyXRayImageStorageForProcessing: Reason.FOR_PROCESSING,
    uid.BreastTomosynthesisImageStorage: Reason.TOMOSYNTHESIS,
}


@pytest.fixture(scope="module")
def received(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reception]:
    further = ReceiveSettings(further_sop_classes=(uid.EnhancedMRImageStorage, "1.2.3.4.5"))
    with reception(tmp_path_factory.mktemp("data"), receive=further) as running_:
        yield running_


@pytest.mark.parametrize(
    "sop_class", [*STORAGE_SOP_CLASSES, uid.EnhancedMRImageStorage], ids=lambda item: item.name
)
def test_an_image_of_each_class_is_stored_and_has_its_reason(
    received: Reception, sop_class: str
) -> None:
    study = f"1.2.3.{len(received.stored)}"
    image = mammogram(
        SOPClassUID=sop_class,
        SOPInstanceUID=f"{study}.1",
        StudyInstanceUID=study,
        Modality=MODALITIES.get(sop_class, "MG"),
        PresentationIntentType="FOR PROCESSING"
        if "ForProcessing" in uid.UID(sop_class).keyword
        else "FOR PRESENTATION",
    )
    image.file_meta.MediaStorageSOPClassUID = sop_class
    assert store(received.port, image, sop_class=sop_class).Status == 0x0000
    (instance,) = received.catalogue.study(study).instances
    assert why_not(instance.facts) is REASONS.get(sop_class, Reason.NOT_MAMMOGRAPHY)


def test_a_class_that_the_library_does_not_know_can_be_configured(received: Reception) -> None:
    image = mammogram(SOPClassUID="1.2.3.4.5", SOPInstanceUID="1.2.9", StudyInstanceUID="1.2.8")
    assert store(received.port, image, sop_class="1.2.3.4.5").Status == 0x0000
    assert "1.2.9" in received.stored


def test_a_class_that_is_configured_twice_or_known_is_offered_once() -> None:
    further = [uid.EnhancedMRImageStorage, uid.EnhancedMRImageStorage, uid.CTImageStorage]
    offered = [str(item.abstract_syntax) for item in supported_contexts(further)]
    assert len(offered) == len(set(offered)) == len(supported_contexts()) + 1


def test_a_class_of_another_service_is_refused_at_start(tmp_path: Path) -> None:
    settings = ReceiveSettings(further_sop_classes=("1.2.840.10008.1.1",))
    with (
        pytest.raises(ConfigurationError, match="no storage SOP class"),
        reception(tmp_path / "data", receive=settings),
    ):
        pass


def test_associations_share_the_contexts(received: Reception) -> None:
    listeners = received.scp._listeners
    assert listeners is not None
    ((server, _),) = listeners._running
    with association(received.port), association(received.port):
        offered = [item.acceptor._contexts for item in server.associations if item.is_established]
        assert len(offered) >= 2
        assert all(item is server.contexts for item in offered)


def test_a_study_of_another_modality_ends_with_its_reason(store: Shelf, tmp_path: Path) -> None:
    with running(Works(store, PretendedModel())) as works:
        works.receive(tmp_path / "in", SOPClassUID=uid.MRImageStorage, Modality="MR")
        job = works.finished(works.settle().id)
    assert job.state is JobState.NOT_ANALYSED
    assert Reason.NOT_MAMMOGRAPHY.sentence in job.error
    assert not job.objects
