"""Mammograms as Part 10 files and study results to go with them, for tests of `report`."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from oncopixel_pacs.domain import (
    Algorithm,
    Finding,
    ImageFacts,
    ImageResult,
    Laterality,
    ModelTask,
    ObjectKind,
    Reason,
    SegmentationForm,
    StudyResult,
    View,
)
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.codes import VIEWS, code_item
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.result_objects import Maps, build_result_objects

FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
STUDY_UID = derive_uid("test", "study")
ROWS, COLUMNS = 96, 72
SPACING_MM = (0.1, 0.1)
FOUR_VIEWS = (
    (Laterality.RIGHT, View.CC),
    (Laterality.LEFT, View.CC),
    (Laterality.RIGHT, View.MLO),
    (Laterality.LEFT, View.MLO),
)
ORIENTATION = {
    (Laterality.LEFT, View.CC): ["A", "R"],
    (Laterality.RIGHT, View.CC): ["P", "L"],
    (Laterality.LEFT, View.MLO): ["A", "FR"],
    (Laterality.RIGHT, View.MLO): ["P", "FL"],
}
SEGMENTER = Algorithm(
    "lesion-segmenter", "1.0.0", ModelTask.SEGMENT, "a" * 64, "c" * 64, threshold=0.5
)
CLASSIFIER = Algorithm(
    "breast-classifier", "1.0.0", ModelTask.CLASSIFY, "b" * 64, "d" * 64, threshold=0.4
)
PROVENANCE = Provenance(
    (CLASSIFIER, SEGMENTER), "0.1.0", datetime(2026, 1, 10, 11, 0, tzinfo=UTC), "cpu"
)

Change = Callable[[Dataset], None]


def mammogram(
    laterality: Laterality = Laterality.RIGHT,
    view: View = View.MLO,
    *,
    photometric: str = "MONOCHROME2",
    character_set: str | list[str] | None = "ISO_IR 100",
    patient_name: str = "Test^Anna",
    rows: int = ROWS,
    columns: int = COLUMNS,
) -> Dataset:
    """Digital Mammography X-Ray Image For Presentation that validates without error."""
    inverse = photometric == "MONOCHROME1"
    name = f"{laterality} {view}"
    dataset = Dataset()
    if character_set is not None:
        dataset.SpecificCharacterSet = character_set
    dataset.ImageType = ["DERIVED", "PRIMARY", ""]
    dataset.SOPClassUID = FOR_PRESENTATION
    dataset.SOPInstanceUID = derive_uid("test", "image", name)
    dataset.StudyInstanceUID = STUDY_UID
    dataset.SeriesInstanceUID = derive_uid("test", "series", name)
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, "20260110")
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, "101000")
    dataset.AccessionNumber = "ACC1"
    dataset.StudyID = "S1"
    dataset.StudyDescription = "Mammography"
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.Modality = "MG"
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.Manufacturer = "Test Maker"
    dataset.ReferringPhysicianName = "Doe^Jo"
    dataset.PatientName = patient_name
    dataset.PatientID = "P-1"
    dataset.IssuerOfPatientID = "HOSPITAL"
    dataset.PatientBirthDate = "19610203"
    dataset.PatientSex = "F"
    dataset.PatientAge = "064Y"
    dataset.BodyPartExamined = "BREAST"
    dataset.BodyPartThickness = "52"
    _detector(dataset)
    dataset.PatientOrientation = ORIENTATION[laterality, view]
    dataset.ImageLaterality = laterality.value
    dataset.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    view_item = code_item(VIEWS[view])
    view_item.ViewModifierCodeSequence = []
    dataset.ViewCodeSequence = [view_item]
    dataset.AcquisitionContextSequence = []
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = photometric
    dataset.Rows, dataset.Columns = rows, columns
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation = 0
    dataset.PixelIntensityRelationship = "LOG"
    dataset.PixelIntensityRelationshipSign = 1 if inverse else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    dataset.WindowCenter, dataset.WindowWidth = "2047", "4096"
    dataset.PresentationLUTShape = "INVERSE" if inverse else "IDENTITY"
    dataset.LossyImageCompression = "00"
    dataset.BurnedInAnnotation = "NO"
    request = Dataset()
    request.RequestedProcedureID, request.ScheduledProcedureStepID = "RP1", "SPS1"
    dataset.RequestAttributesSequence = [request]
    dataset.add_new(0x7FE00010, "OW", bytes(2 * rows * columns))
    return dataset


def save(dataset: Dataset, folder: Path) -> Path:
    """Write a data set as a Part 10 file, whatever is wrong with its values."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.file_meta.ImplementationClassUID = derive_uid("test", "implementation")
    path = folder / f"{dataset.SOPInstanceUID}.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # broken values are what these files are for
        dataset.save_as(path, enforce_file_format=True)
    return path


def facts_of(dataset: Dataset, laterality: Laterality, view: View) -> ImageFacts:
    """Facts of a mammogram made here."""
    return ImageFacts(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        transfer_syntax_uid=ExplicitVRLittleEndian,
        modality="MG",
        presentation_intent="FOR PRESENTATION",
        laterality=laterality,
        view=view,
        view_modifiers=(),
        partial_view=False,
        implant=False,
        quality_control=False,
        rows=int(dataset.Rows),
        columns=int(dataset.Columns),
        frames=1,
        samples_per_pixel=1,
        photometric=str(dataset.PhotometricInterpretation),
        spacing_mm=SPACING_MM,
        has_pixel_data=True,
    )


def lesion(image: ImageFacts, number: int) -> tuple[Finding, tuple[slice, slice]]:
    """Make square finding `number` of an image and tell the pixels it covers."""
    top, left, size = 8 + 20 * (number - 1), 10, 12
    bottom, right = top + size - 1, left + size - 1
    corners = ((top, left), (top, right), (bottom, right), (bottom, left), (top, left))
    finding = Finding(
        number=number,
        tracking_id=f"{image.name} {number}",
        tracking_uid=derive_uid("test", "finding", image.sop_instance_uid, str(number)),
        probability=0.9 - 0.1 * number,
        centre=((top + bottom) / 2, (left + right) / 2),
        outline=tuple((float(row), float(column)) for row, column in corners),
        area_mm2=size * size * SPACING_MM[0] * SPACING_MM[1],
        long_axis_mm=size * SPACING_MM[0],
        short_axis_mm=size * SPACING_MM[1],
    )
    return finding, (slice(top, bottom + 1), slice(left, right + 1))


@dataclass(frozen=True)
class Case:
    """A study on disk, its result and its label maps."""

    result: StudyResult
    paths: dict[str, Path]
    labels: Mapping[str, NDArray[np.uint8]]

    def build(
        self,
        provenance: Provenance = PROVENANCE,
        existing: Callable[[str], bytes | None] = lambda _uid: None,
        wanted: Collection[ObjectKind] = (ObjectKind.SEG, ObjectKind.SR),
        forms: Collection[SegmentationForm] = (SegmentationForm.BINARY,),
        predecessors: Sequence[Dataset] = (),
    ) -> tuple[BuiltObject, ...]:
        """Build the result objects of this case."""
        return build_result_objects(
            self.result,
            self.paths,
            self.maps,
            provenance,
            existing,
            predecessors,
            wanted,
            forms=forms,
        )

    @property
    def maps(self) -> Maps:
        """Label maps, and probability maps that fade towards the edges of the image."""
        return Maps(self.labels.get, self.probabilities)

    def probabilities(self, sop_instance_uid: str) -> NDArray[np.uint8]:
        """Give each finding its probability, and the rest of the image a little."""
        labels = self.labels[sop_instance_uid]
        (image,) = (i for i in self.result.images if i.facts.sop_instance_uid == sop_instance_uid)
        values = np.full(labels.shape, 12, np.uint8)
        for finding in image.findings:
            values[labels == finding.number] = round(255 * finding.probability)
        return values

    def one(self, kind: ObjectKind) -> BuiltObject:
        """Build the only object of a kind."""
        (built,) = (item for item in self.build(wanted=(kind,)) if item.kind is kind)
        return built

    def save_objects(
        self,
        folder: Path,
        wanted: Collection[ObjectKind] = (ObjectKind.SEG, ObjectKind.SR),
        forms: Collection[SegmentationForm] = (SegmentationForm.BINARY,),
    ) -> list[Path]:
        """Build the result objects and write them as files."""
        return save_built(self.build(wanted=wanted, forms=forms), folder)


def save_built(objects: Sequence[BuiltObject], folder: Path) -> list[Path]:
    """Write result objects as files."""
    paths = []
    for number, item in enumerate(objects):
        path = folder / f"{item.kind}-{number}.dcm"
        path.write_bytes(item.part10)
        paths.append(path)
    return paths


def case(
    folder: Path,
    findings: Mapping[tuple[Laterality, View], int],
    *,
    change: Change = lambda _dataset: None,
    photometric: str = "MONOCHROME2",
    character_set: str | list[str] | None = "ISO_IR 100",
    patient_name: str = "Test^Anna",
) -> Case:
    """Write a study and make its result.

    Parameters
    ----------
    findings
        Number of findings for each view that the study has.
    change
        Applied to each image before it is written.
    """
    images, paths, labels = [], {}, {}
    for (laterality, view), count in findings.items():
        dataset = mammogram(
            laterality,
            view,
            photometric=photometric,
            character_set=character_set,
            patient_name=patient_name,
        )
        change(dataset)
        facts = facts_of(dataset, laterality, view)
        paths[facts.sop_instance_uid] = save(dataset, folder)
        label_map = np.zeros((facts.rows, facts.columns), dtype=np.uint8)
        lesions = []
        for number in range(1, count + 1):
            finding, region = lesion(facts, number)
            label_map[region] = number
            lesions.append(finding)
        labels[facts.sop_instance_uid] = label_map
        probability = max((item.probability for item in lesions), default=0.1)
        images.append(ImageResult(facts, probability, tuple(lesions)))
    images.sort(key=lambda item: item.facts.sop_instance_uid)
    return Case(_study(tuple(images)), paths, labels)


def with_repeats(folder: Path, count: int) -> Case:
    """Take each of four views twice, with so many findings on each image."""
    first = case(folder, dict.fromkeys(FOUR_VIEWS, count))
    again = case(folder, dict.fromkeys(FOUR_VIEWS, count), change=_repeat)
    images = (*first.result.images, *again.result.images)
    return Case(_study(images), first.paths | again.paths, first.labels | again.labels)


def _repeat(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = derive_uid("repeat of", dataset.SOPInstanceUID)


def without(study: Case, name: str, reason: Reason) -> Case:
    """Take the same study with one image not analysed."""
    images = tuple(
        ImageResult(item.facts, reason=reason) if item.facts.name == name else item
        for item in study.result.images
    )
    return replace(study, result=_study(images))


def _study(images: tuple[ImageResult, ...]) -> StudyResult:
    scores: dict[Laterality, list[float]] = {}
    for item in images:
        if item.probability is not None and item.facts.laterality is not None:
            scores.setdefault(item.facts.laterality, []).append(item.probability)
    breasts = {side: sum(values) / len(values) for side, values in scores.items()}
    return StudyResult(
        study_instance_uid=STUDY_UID,
        revision=1,
        algorithms=PROVENANCE.algorithms,
        images=images,
        breasts=breasts,
        probability=max(breasts.values(), default=None),
    )


def _detector(dataset: Dataset) -> None:
    dataset.PositionerType = "MAMMOGRAPHIC"
    dataset.DetectorType = "DIRECT"
    dataset.FieldOfViewOrigin = ["0", "0"]
    dataset.FieldOfViewRotation = "0"
    dataset.FieldOfViewHorizontalFlip = "NO"
    dataset.ImagerPixelSpacing = [str(value) for value in SPACING_MM]
    dataset.OrganExposed = "BREAST"


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
