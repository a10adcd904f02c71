"""Defects that are put into result objects on purpose, one each."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate

from oncopixel_pacs.report.dataset_rules import walk


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
