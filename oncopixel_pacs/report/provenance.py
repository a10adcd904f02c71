"""Who made a result object: the software, the models, the device, the time."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

import highdicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from oncopixel_pacs.domain import Algorithm, ModelTask, ObjectKind, SegmentationForm
from oncopixel_pacs.domain.facts import MANUFACTURER
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.report import codes

MODEL_NAME = "OncoPixel PACS"
IMPLEMENTATION_CLASS_UID = derive_uid("oncopixel-pacs", "implementation class")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who made a set of result objects, and when.

    Attributes
    ----------
    created_at
        Timezone-aware; the job fixes it, so that building again gives the same bytes.
    device
        What the models ran on.
    """

    algorithms: tuple[Algorithm, ...]
    software_version: str
    created_at: datetime
    device: str

    def __post_init__(self) -> None:
        """Refuse a time that depends on the machine's time zone."""
        if self.created_at.tzinfo is None:
            raise ValueError("created_at needs a time zone; pass UTC.")

    @property
    def digest(self) -> str:
        """SHA-256 of all that a result depends on besides the images; the time is no part."""
        parts = [self.software_version, self.device]
        for item in self.algorithms:
            parts += [item.manufacturer, item.name, item.task, item.version]
            parts += [item.weights_sha256, item.preprocessing_sha256, repr(item.threshold)]
            # What a rule leaves out changes the result.
            parts += [item.rule_sha256] if item.rule_sha256 else []
            parts += _beside_the_weights(item)
        return hashlib.sha256("\x1f".join(parts).encode()).hexdigest()

    @property
    def serial_number(self) -> str:
        """Device Serial Number (0018,1000): changes with models and software."""
        return f"OPX-{self.digest[:12]}"

    def algorithm(self, task: ModelTask) -> Algorithm | None:
        """First algorithm with this task."""
        return next((item for item in self.algorithms if item.task is task), None)

    def device_uid(self, algorithm: Algorithm) -> str:
        """Device UID (0018,1002): changes with the model, its operating point or the software.

        IHE AI Results, 6.5.3.1, asks for an identifier that changes with the model.
        """
        return derive_uid(
            "device",
            algorithm.manufacturer,
            algorithm.name,
            algorithm.task,
            algorithm.version,
            algorithm.weights_sha256,
            algorithm.preprocessing_sha256,
            repr(algorithm.threshold),
            self.software_version,
            *_beside_the_weights(algorithm),
        )


def parameters(algorithm: Algorithm, provenance: Provenance) -> dict[str, str]:
    """Parameters of an algorithm as they stand in result objects."""
    outlined = algorithm.outline_threshold
    reach = "" if outlined is None else f", outlined at >= {outlined!r}"
    stated = algorithm.configuration_sha256
    return {
        "threshold": repr(algorithm.threshold),
        "operating_point": (
            f"{algorithm.task} called at probability >= {algorithm.threshold!r}{reach}"
        ),
        "weights_sha256": algorithm.weights_sha256,
        "preprocessing_sha256": algorithm.preprocessing_sha256,
        **({"configuration_sha256": stated} if stated else {}),
        "software": f"{MODEL_NAME} {provenance.software_version}",
        "device": provenance.device,
    }


def segment_algorithm(
    algorithm: Algorithm, provenance: Provenance
) -> highdicom.AlgorithmIdentificationSequence:
    """Algorithm Identification Macro, PS3.3 table 10-19."""
    return highdicom.AlgorithmIdentificationSequence(
        name=algorithm.name,
        version=algorithm.version,
        family=codes.ARTIFICIAL_INTELLIGENCE,
        source=algorithm.manufacturer,
        parameters=parameters(algorithm, provenance),
    )


def sign(dataset: Dataset, header: Dataset, provenance: Provenance) -> None:
    """Write equipment, times and contributing equipment into a result object, in place.

    Replaces what the writing library put there of its own, so that the same result gives the
    same bytes. Times are those of the server's own time zone, as everywhere in a hospital,
    unless the source states its Timezone Offset From UTC (0008,0201), which then holds for the
    result too.

    Parameters
    ----------
    dataset
        Result object.
    header
        Header of a source image, see `source_header.read_source`.
    provenance
        Who made it.
    """
    moment = local_time(provenance.created_at, header)
    date, time = moment.strftime("%Y%m%d"), moment.strftime("%H%M%S")
    if "TimezoneOffsetFromUTC" in header:
        dataset.TimezoneOffsetFromUTC = header.TimezoneOffsetFromUTC
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = date, time
    dataset.ContentDate, dataset.ContentTime = date, time
    dataset.Manufacturer = MANUFACTURER
    dataset.ManufacturerModelName = MODEL_NAME
    dataset.DeviceSerialNumber = provenance.serial_number
    dataset.SoftwareVersions = [
        f"{MODEL_NAME} {provenance.software_version}"[:64],
        *(f"{item.name} {item.version}"[:64] for item in provenance.algorithms),
    ]
    dataset.ContributingEquipmentSequence = [
        _equipment(item, provenance) for item in provenance.algorithms
    ]


def local_time(moment: datetime, header: Dataset) -> datetime:
    """Move a time into the zone of the source's Timezone Offset From UTC, else the server's own."""
    if "TimezoneOffsetFromUTC" not in header:
        return moment.astimezone()
    offset = str(header.TimezoneOffsetFromUTC)
    minutes = int(offset[1:3]) * 60 + int(offset[3:5])
    sign_of = -1 if offset.startswith("-") else 1
    return moment.astimezone(timezone(sign_of * timedelta(minutes=minutes)))


def transfer_syntax(kind: ObjectKind, form: SegmentationForm | None = None) -> UID:
    """Transfer syntax that a kind of object is written in.

    Explicit VR Little Endian, which everyone takes, wherever that does not make pictures many
    times as large: RLE is what viewers of label maps read; probabilities need JPEG-LS to stay
    small; pictures for people are JPEG Baseline, the oldest compression in every viewer.
    """
    if kind is ObjectKind.SC:
        return JPEGBaseline8Bit
    if kind is ObjectKind.SEG and form is SegmentationForm.FRACTIONAL:
        return JPEGLSLossless
    if kind is ObjectKind.SEG and form is SegmentationForm.LABELMAP:
        return RLELossless
    return ExplicitVRLittleEndian


def file_meta(dataset: Dataset, syntax: UID, software_version: str) -> FileMetaDataset:
    """File Meta Information, PS3.10 section 7.1, with our implementation's name."""
    meta = FileMetaDataset()
    meta.FileMetaInformationVersion = b"\x00\x01"
    meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = UID(IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = f"ONCOPIXEL {software_version}"[:16].rstrip()
    return meta


def _beside_the_weights(algorithm: Algorithm) -> list[str]:
    """Say what else of a bundle decides, and how far findings reach if beyond the threshold."""
    found, stated = algorithm.outline_threshold, algorithm.configuration_sha256
    outlined = [] if found is None else [f"outlined {found!r}"]
    return outlined + ([f"configured {stated}"] if stated else [])


def _equipment(algorithm: Algorithm, provenance: Provenance) -> Dataset:
    """Item of Contributing Equipment Sequence (0018,A001): IHE AI Results, 6.5.3.1."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [codes.code_item(codes.PROCESSING_EQUIPMENT)]
    item.Manufacturer = algorithm.manufacturer[:64]
    item.ManufacturerModelName = algorithm.name[:64]
    item.DeviceSerialNumber = algorithm.weights_sha256[:16]
    item.DeviceUID = provenance.device_uid(algorithm)
    item.SoftwareVersions = [algorithm.version[:64], provenance.software_version[:64]]
    item.ContributionDateTime = provenance.created_at.strftime("%Y%m%d%H%M%S%z")
    stated = parameters(algorithm, provenance)
    item.ContributionDescription = "; ".join(f"{name}={value}" for name, value in stated.items())
    return item
