"""The gate before sending: each defect is put in on purpose and must be found."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from oncopixel_pacs.domain import Laterality, ObjectKind, View
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.dataset_rules import walk
from oncopixel_pacs.report.validation import check
from tests.report_builders import FOUR_VIEWS, Case, case

SEG, SR, SC, PR = ObjectKind.SEG, ObjectKind.SR, ObjectKind.SC, ObjectKind.GSPS
KO, PDF = ObjectKind.KOS, ObjectKind.PDF
Mutation = Callable[[Dataset], None]


@pytest.fixture
def study(tmp_path: Path) -> Case:
    return case(tmp_path, {(Laterality.RIGHT, View.MLO): 2})


def mutated(built: BuiltObject, mutation: Mutation) -> BuiltObject:
    buffer = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # writing nonsense is the point
        dataset = dcmread(io.BytesIO(built.part10))
        mutation(dataset)
        dataset.save_as(buffer)
    return replace(built, part10=buffer.getvalue())


def first(dataset: Dataset, value_type: str, keyword: str = "ValueType") -> Dataset:
    return next(item for item in walk(dataset) if item.get(keyword) == value_type)


def of_code(dataset: Dataset, code_value: str) -> Dataset:
    """First content item whose concept name has this code."""
    return next(
        item
        for item in walk(dataset)
        if item.get("ConceptNameCodeSequence")
        and item.ConceptNameCodeSequence[0].CodeValue == code_value
    )


def set_rows(dataset: Dataset) -> None:
    dataset.Rows += 1


def mirror(dataset: Dataset) -> None:
    dataset.PatientOrientation = ["A", "FR"]


def other_side_of_segments(dataset: Dataset) -> None:
    for segment in dataset.SegmentSequence:
        region = segment.AnatomicRegionSequence[0]
        region.AnatomicRegionModifierSequence[0].CodeValue = "7771000"


def erase_pixels(dataset: Dataset) -> None:
    dataset.PixelData = bytes(len(dataset.PixelData))


def cut_pixels(dataset: Dataset) -> None:
    dataset.PixelData = dataset.PixelData[:100]


def claim_a_map(dataset: Dataset) -> None:
    dataset.SegmentSequence[-1].SegmentLabel = "Lesion probability"


def move_pixels(dataset: Dataset) -> None:
    """Every frame ten rows further down."""
    frames = np.unpackbits(np.frombuffer(dataset.PixelData, np.uint8), bitorder="little")
    size = dataset.Rows * dataset.Columns * dataset.NumberOfFrames
    moved = np.roll(frames[:size].reshape(-1, dataset.Rows, dataset.Columns), 10, axis=1)
    dataset.PixelData = np.packbits(moved, bitorder="little").tobytes()


def other_probability(dataset: Dataset) -> None:
    dataset.SegmentSequence[0].SegmentDescription = "Probability of malignancy 12.3%."


def other_view(dataset: Dataset) -> None:
    dataset.SeriesDescription = dataset.SeriesDescription.replace("R MLO", "R CC")


def swap_frames(dataset: Dataset) -> None:
    dataset.PerFrameFunctionalGroupsSequence.reverse()


def add_frame_of_reference(dataset: Dataset) -> None:
    dataset.FrameOfReferenceUID = "1.2.3"


def drop_orientation(dataset: Dataset) -> None:
    del dataset.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence


def drop_segments(dataset: Dataset) -> None:
    del dataset.SegmentSequence


def rename_patient(dataset: Dataset) -> None:
    dataset.PatientID = "P-2"


def long_uid(dataset: Dataset) -> None:
    dataset.ContributingEquipmentSequence[0].DeviceUID = "2.25." + "9" * 70


def leading_zero_uid(dataset: Dataset) -> None:
    dataset.SeriesInstanceUID = "2.25.01"


def accent(dataset: Dataset) -> None:
    first(dataset, "SCT", "CodingSchemeDesignator").CodeMeaning = "Br\u00fcst"


def no_meaning(dataset: Dataset) -> None:
    del first(dataset, "SCT", "CodingSchemeDesignator").CodeMeaning


def no_notice(dataset: Dataset) -> None:
    dataset.SeriesDescription = "AI"


def no_notice_in_text(dataset: Dataset) -> None:
    of_code(dataset, "121106").TextValue = "All well."


def outside(dataset: Dataset) -> None:
    scoord = first(dataset, "SCOORD")
    scoord.GraphicData = [*scoord.GraphicData[:-2], 5000.0, 1.0]


def open_outline(dataset: Dataset) -> None:
    scoord = first(dataset, "SCOORD")
    scoord.GraphicData = list(scoord.GraphicData[:-2])


def odd_coordinates(dataset: Dataset) -> None:
    scoord = first(dataset, "SCOORD")
    scoord.GraphicData = list(scoord.GraphicData[:-1])


def frame_and_segment(dataset: Dataset) -> None:
    of_code(dataset, "121214").ReferencedSOPSequence[0].ReferencedSegmentNumber = 1


def unknown_reference(dataset: Dataset) -> None:
    of_code(dataset, "121214").ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.5"


def wrong_class(dataset: Dataset) -> None:
    of_code(dataset, "121214").ReferencedSOPSequence[0].ReferencedSOPClassUID = "1.2.840.10008.1.1"


def other_frame(dataset: Dataset) -> None:
    of_code(dataset, "121214").ReferencedSOPSequence[0].ReferencedFrameNumber = 2


def other_tracking(dataset: Dataset) -> None:
    of_code(dataset, "112040").UID = "2.25.5"


def other_site(dataset: Dataset) -> None:
    of_code(dataset, "272741003").ConceptCodeSequence[0].CodeValue = "7771000"


def no_evidence(dataset: Dataset) -> None:
    (part,) = dataset.CurrentRequestedProcedureEvidenceSequence
    part.ReferencedSeriesSequence = [
        series
        for series in part.ReferencedSeriesSequence
        if series.ReferencedSOPSequence[0].ReferencedSOPClassUID.name != "Segmentation Storage"
    ]


def other_template(dataset: Dataset) -> None:
    dataset.ContentTemplateSequence[0].TemplateIdentifier = "4000"


def no_groups(dataset: Dataset) -> None:
    of_code(dataset, "126010").ContentSequence = []


def other_object(dataset: Dataset) -> None:
    dataset.SOPInstanceUID = "2.25.5"


def other_meta(dataset: Dataset) -> None:
    dataset.file_meta.MediaStorageSOPInstanceUID = "2.25.5"


def other_laterality(dataset: Dataset) -> None:
    dataset.Laterality = "L"


def claim_original(dataset: Dataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY"]


def claim_mammogram(dataset: Dataset) -> None:
    dataset.Modality = "MG"


def claim_no_text(dataset: Dataset) -> None:
    dataset.BurnedInAnnotation = "NO"


def grey(dataset: Dataset) -> None:
    dataset.PhotometricInterpretation = "YBR_FULL"


def blacken(dataset: Dataset) -> None:
    out = io.BytesIO()
    Image.new("RGB", (dataset.Columns, dataset.Rows)).save(out, "JPEG", subsampling="4:2:2")
    dataset.PixelData = encapsulate([out.getvalue()])


def claim_no_loss(dataset: Dataset) -> None:
    dataset.LossyImageCompression = "00"


def other_patient_page(dataset: Dataset) -> None:
    dataset.SourceInstanceSequence[0].ReferencedSOPInstanceUID = "2.25.9"


def no_pdf(dataset: Dataset) -> None:
    dataset.EncapsulatedDocument = b"0" * len(dataset.EncapsulatedDocument)


def half_a_pdf(dataset: Dataset) -> None:
    half = dataset.EncapsulatedDocumentLength // 4 * 2
    dataset.EncapsulatedDocument = dataset.EncapsulatedDocument[:half]
    dataset.EncapsulatedDocumentLength = half


def miscounted_pdf(dataset: Dataset) -> None:
    dataset.EncapsulatedDocumentLength -= 4


def plain_title(dataset: Dataset) -> None:
    dataset.DocumentTitle = "Report"


def other_outcome(dataset: Dataset) -> None:
    item = of_code(dataset, "111017")
    item.ConceptCodeSequence[0].CodeValue = "111241"


def nothing_analysed(dataset: Dataset) -> None:
    of_code(dataset, "111017").ConceptCodeSequence[0].CodeValue = "111245"


def move_outline(dataset: Dataset) -> None:
    """Outlines of findings, in the report alone, ten pixels further to the right."""
    for item in walk(dataset):
        if item.get("ValueType") == "SCOORD" and len(item.GraphicData) == 10:
            columns = item.GraphicData[::2]
            if max(columns) < dataset_columns(dataset):
                item.GraphicData = [
                    value + (10 if index % 2 == 0 else 0)
                    for index, value in enumerate(item.GraphicData)
                ]


def dataset_columns(dataset: Dataset) -> float:
    columns = of_code(dataset, "110911")
    return float(columns.MeasuredValueSequence[0].NumericValue)


def second_source(dataset: Dataset) -> None:
    dataset.SourceImageSequence.append(dataset.SourceImageSequence[0])


def unknown_source(dataset: Dataset) -> None:
    dataset.SourceImageSequence[0].ReferencedSOPInstanceUID = "2.25.5"


def other_polarity(dataset: Dataset) -> None:
    dataset.PresentationLUTShape = "INVERSE"


def other_window(dataset: Dataset) -> None:
    dataset.SoftcopyVOILUTSequence[0].WindowWidth = "100"


def two_windows(dataset: Dataset) -> None:
    dataset.SoftcopyVOILUTSequence[0].WindowWidth = ["4096", "100"]


def two_transformations(dataset: Dataset) -> None:
    dataset.SoftcopyVOILUTSequence.append(dataset.SoftcopyVOILUTSequence[0])


def no_window(dataset: Dataset) -> None:
    del dataset.SoftcopyVOILUTSequence


def other_function(dataset: Dataset) -> None:
    dataset.SoftcopyVOILUTSequence[0].VOILUTFunction = "SIGMOID"


def foreign_voi_lut(dataset: Dataset) -> None:
    dataset.SoftcopyVOILUTSequence[0].VOILUTSequence = [Dataset()]


def foreign_modality_lut(dataset: Dataset) -> None:
    dataset.ModalityLUTSequence = [Dataset()]


def other_slope(dataset: Dataset) -> None:
    dataset.RescaleSlope = "2"


def part_of_the_image(dataset: Dataset) -> None:
    dataset.DisplayedAreaSelectionSequence[0].DisplayedAreaBottomRightHandCorner = [10, 10]


def plain_label(dataset: Dataset) -> None:
    dataset.ContentLabel = "FINDINGS"


def plain_description(dataset: Dataset) -> None:
    dataset.ContentDescription = "Findings"


def no_notice_on_the_image(dataset: Dataset) -> None:
    dataset.GraphicAnnotationSequence[0].TextObjectSequence[0].UnformattedTextValue = "AI"


def other_layer(dataset: Dataset) -> None:
    dataset.GraphicLayerSequence[0].GraphicLayer = "OTHER"


def second_image(dataset: Dataset) -> None:
    images = dataset.ReferencedSeriesSequence[0].ReferencedImageSequence
    images.append(images[0])


def unknown_image(dataset: Dataset) -> None:
    series = dataset.ReferencedSeriesSequence[0]
    series.ReferencedImageSequence[0].ReferencedSOPInstanceUID = "2.25.5"


def text_outside(dataset: Dataset) -> None:
    text = dataset.GraphicAnnotationSequence[0].TextObjectSequence[1]
    text.BoundingBoxBottomRightHandCorner = [5000.0, 1.0]


def outline(dataset: Dataset) -> Dataset:
    return dataset.GraphicAnnotationSequence[0].GraphicObjectSequence[0]


def outline_outside(dataset: Dataset) -> None:
    item = outline(dataset)
    item.GraphicData = [-1.0, *item.GraphicData[1:-2], -1.0, item.GraphicData[-1]]


def outline_open(dataset: Dataset) -> None:
    item = outline(dataset)
    item.GraphicData = list(item.GraphicData[:-2])
    item.NumberOfGraphicPoints -= 1


def outline_miscounted(dataset: Dataset) -> None:
    outline(dataset).NumberOfGraphicPoints += 1


def outline_of_another(dataset: Dataset) -> None:
    outline(dataset).TrackingUID = "2.25.5"


def outline_dropped(dataset: Dataset) -> None:
    del dataset.GraphicAnnotationSequence[0].GraphicObjectSequence[1]


def label_dropped(dataset: Dataset) -> None:
    del dataset.GraphicAnnotationSequence[0].TextObjectSequence[1]


def other_title(dataset: Dataset) -> None:
    dataset.ConceptNameCodeSequence[0].CodeValue = "113001"


def no_notice_in_description(dataset: Dataset) -> None:
    of_code(dataset, "113012").TextValue = "Look at these."


def selection_dropped(dataset: Dataset) -> None:
    del dataset.ContentSequence[-1]


def images_dropped(dataset: Dataset) -> None:
    """Nothing but the report is selected, and the evidence says the same."""
    dataset.ContentSequence = [i for i in dataset.ContentSequence if i.ValueType != "IMAGE"]
    (study,) = dataset.CurrentRequestedProcedureEvidenceSequence
    study.ReferencedSeriesSequence = [
        series
        for series in study.ReferencedSeriesSequence
        if series.ReferencedSOPSequence[0].ReferencedSOPClassUID.name.startswith("Comprehensive")
    ]


def purpose_of_reference(dataset: Dataset) -> None:
    first(dataset, "IMAGE").ConceptNameCodeSequence = dataset.ConceptNameCodeSequence


MUTATIONS = [
    (SEG, set_rows, "Rows differs"),
    (SEG, mirror, "Patient Orientation differs"),
    (SEG, other_side_of_segments, "finding R MLO 1 of the segmentation is not so in the report"),
    (SEG, erase_pixels, "segment 1 has no pixels"),
    (SEG, cut_pixels, "too short"),
    (SEG, claim_a_map, "map of probabilities is not its last segment"),
    (SEG, move_pixels, "lies elsewhere than its pixels"),
    (SEG, other_probability, "probability of a finding is not the same"),
    (SEG, other_view, "another side or view than the report says"),
    (SEG, swap_frames, "frames do not follow"),
    (SEG, add_frame_of_reference, "Frame of Reference"),
    (SEG, drop_orientation, "Plane Orientation is missing"),
    (SEG, drop_segments, "lacks what its class requires"),
    (SEG, rename_patient, "PatientID differs"),
    (SEG, long_uid, "DeviceUID holds"),
    (SEG, leading_zero_uid, "SeriesInstanceUID holds '2.25.01'"),
    (SEG, accent, "CodeMeaning of code 49755003 is not ASCII|CodeMeaning of code .* is not ASCII"),
    (SEG, no_meaning, "has no CodeMeaning"),
    (SEG, no_notice, "research use only"),
    (SEG, other_meta, "File Meta Information names another object"),
    (SEG, other_object, "its bytes hold another object"),
    (SR, rename_patient, "PatientID differs"),
    (SR, accent, "is not ASCII"),
    (SR, no_notice, "research use only"),
    (SR, no_notice_in_text, "research use only"),
    (SR, outside, "outside their image"),
    (SR, open_outline, "not closed"),
    (SR, odd_coordinates, "not pairs"),
    (SR, frame_and_segment, "both frame and segment"),
    (SR, unknown_reference, "neither source nor result"),
    (SR, wrong_class, "under another SOP class"),
    (SR, other_frame, "finding R MLO 1 of the segmentation is not so in the report"),
    (SR, other_tracking, "finding R MLO 1 of the report is not so in the segmentation"),
    (SR, other_site, "another side"),
    (SR, no_evidence, "but no evidence"),
    (SR, other_template, "not TID 1500"),
    (SR, no_groups, "no measurement group"),
    (SR, nothing_analysed, "though nothing was analysed"),
    (SR, move_outline, "lies elsewhere than its pixels"),
    (PDF, other_patient_page, "source is not among the images"),
    (PDF, no_pdf, "no whole PDF"),
    (PDF, half_a_pdf, "no whole PDF"),
    (PDF, miscounted_pdf, "length is not that of its document"),
    (PDF, plain_title, "research use only"),
    (PDF, rename_patient, "PatientID differs"),
    (SC, claim_original, "that it is derived"),
    (SC, claim_mammogram, "modality is not OT"),
    (SC, claim_no_text, "text is burnt in"),
    (SC, other_laterality, "Laterality differs"),
    (SC, mirror, "Patient Orientation differs"),
    (SC, grey, "not in colour of 8 bits"),
    (SC, set_rows, "size of the picture|cannot be decoded"),
    (SC, cut_pixels, "cannot be decoded"),
    (SC, blacken, "picture is black"),
    (SC, claim_no_loss, "compressed with loss"),
    (SC, other_view, "another side or view"),
    (SC, second_source, "more than one image"),
    (SC, unknown_source, "source is not among the images"),
    (SC, rename_patient, "PatientID differs"),
    (SC, no_notice, "research use only"),
    (PR, other_laterality, "Laterality differs"),
    (PR, other_polarity, "polarity"),
    (PR, other_window, "window is not the first"),
    (PR, two_windows, "WindowWidth has more than one value"),
    (PR, two_transformations, "more than one VOI"),
    (PR, no_window, "window is not the first"),
    (PR, other_function, "window is not the first"),
    (PR, foreign_voi_lut, "VOI LUT is not"),
    (PR, foreign_modality_lut, "Modality LUT is not"),
    (PR, other_slope, "rescale is not"),
    (PR, part_of_the_image, "whole image"),
    (PR, plain_label, "label or description"),
    (PR, plain_description, "label or description"),
    (PR, no_notice_on_the_image, "no text on the image"),
    (PR, other_layer, "layer that is not there"),
    (PR, second_image, "more than one image"),
    (PR, unknown_image, "source is not among the images"),
    (PR, text_outside, "text lies outside"),
    (PR, outline_outside, "outline lies outside"),
    (PR, outline_open, "not closed"),
    (PR, outline_miscounted, "not closed"),
    (PR, outline_of_another, "differs between segmentation and presentation state"),
    (PR, outline_dropped, "R MLO 2 differs between segmentation and presentation state"),
    (PR, label_dropped, "outline R MLO 1 has no label"),
    (PR, rename_patient, "PatientID differs"),
    (PR, no_notice, "research use only"),
    (KO, other_template, "not TID 2010"),
    (KO, other_title, "not Of Interest"),
    (KO, no_notice_in_description, "research use only"),
    (KO, selection_dropped, "either selected or evidence"),
    (KO, no_evidence, "either selected or evidence"),
    (KO, images_dropped, "it selects no image"),
    (KO, images_dropped, "an image with findings is not among the key objects"),
    (KO, purpose_of_reference, "purpose of reference"),
    (KO, rename_patient, "PatientID differs"),
    (KO, no_notice, "research use only"),
]


def test_what_is_right_passes(tmp_path: Path) -> None:
    for findings in ({}, {FOUR_VIEWS[0]: 3, FOUR_VIEWS[3]: 1}):
        study = case(tmp_path, {**dict.fromkeys(FOUR_VIEWS, 0), **findings})
        check(study.build(), study.paths)
        check(study.build(wanted=tuple(ObjectKind)), study.paths)


def test_an_image_without_findings_is_no_key_object(tmp_path: Path) -> None:
    study = case(tmp_path, {FOUR_VIEWS[0]: 1, FOUR_VIEWS[1]: 0})
    built = study.build(wanted=(KO,))
    (plain,) = (i.facts for i in study.result.images if not i.findings)

    def select(dataset: Dataset) -> None:
        series = dataset.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence[0]
        for item in (first(dataset, "IMAGE"), series):
            item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID = plain.sop_instance_uid

    objects = [mutated(item, select) if item.kind is KO else item for item in built]
    with pytest.raises(ResultRejected, match="without findings is among"):
        check(objects, study.paths)


def test_loss_of_the_source_may_not_be_hidden(tmp_path: Path) -> None:
    def lossy(dataset: Dataset) -> None:
        dataset.LossyImageCompression = "01"

    def hide(dataset: Dataset) -> None:
        dataset.LossyImageCompression = "00"

    study = case(tmp_path, {FOUR_VIEWS[0]: 0}, change=lossy)
    built = [mutated(i, hide) if i.kind is SC else i for i in study.build(wanted=(SC,))]
    with pytest.raises(ResultRejected, match="compressed with loss"):
        check(built, study.paths)


@pytest.mark.parametrize(("kind", "mutation", "why"), MUTATIONS)
def test_each_defect_is_found(study: Case, kind: ObjectKind, mutation: Mutation, why: str) -> None:
    objects = study.build(wanted=(kind,))
    built = [mutated(item, mutation) if item.kind is kind else item for item in objects]
    with pytest.raises(ResultRejected, match=why):
        check(built, study.paths)


def test_a_report_without_its_segmentation_is_held_back(study: Case) -> None:
    with pytest.raises(ResultRejected, match="neither source nor result"):
        check(study.build()[1:], study.paths)


def test_results_of_another_study_are_held_back(study: Case) -> None:
    with pytest.raises(ResultRejected, match="its source is not among the images"):
        check(study.build(), {})


def test_bytes_that_are_no_dicom_are_held_back(study: Case) -> None:
    built = replace(study.build()[0], part10=b"no DICOM")
    with pytest.raises(ResultRejected):
        check([built], study.paths)


def test_many_problems_are_cut_short(tmp_path: Path) -> None:
    study = case(tmp_path, dict.fromkeys(FOUR_VIEWS, 2))

    def everything(dataset: Dataset) -> None:
        for mutation in (set_rows, mirror, add_frame_of_reference, no_notice):
            mutation(dataset)

    built = [mutated(item, everything) if item.kind is SEG else item for item in study.build()]
    with pytest.raises(ResultRejected, match="and [0-9]+ more"):
        check(built, study.paths)


def test_no_objects_are_no_problem() -> None:
    check((), {})
