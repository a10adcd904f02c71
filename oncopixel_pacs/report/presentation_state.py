"""Grayscale Softcopy Presentation State of one image: outlines over it (PS3.3 A.33.1).

Written out rather than taken from highdicom: that writes every window of the source, which
rendering toolkits refuse, and Presentation LUT Shape IDENTITY for inverse images, whose air
then turns white.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence

from pydicom.dataset import Dataset
from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage
from pydicom.valuerep import format_number_as_ds

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.domain import Finding, ImageResult
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.content_items import sop_reference
from oncopixel_pacs.report.provenance import Provenance, sign
from oncopixel_pacs.report.segmentation import ObjectUids
from oncopixel_pacs.report.source_header import SourceHeader
from oncopixel_pacs.report.source_presentation import SourcePresentation, in_16_bits, write_lut

CONTENT_LABEL = "AI_RESEARCH_ONLY"
LAYER = "AI_FINDINGS"
_YELLOW_CIELAB = (63_660, 27_356, 57_178)  # sRGB 255, 255, 0 as PS3.3 C.10.7.1.1 scales it
# Size of a label beside its outline, as parts of the image.
_LABEL_WIDTH, _LABEL_HEIGHT, _GAP = 0.22, 0.02, 0.01


def series_description(image: ImageResult) -> str:
    """Series Description (0008,103E), such as ``AI OUTLINES R MLO - RESEARCH USE ONLY``."""
    return f"AI OUTLINES {image.facts.name} - RESEARCH USE ONLY"


def build_presentation_state(
    source: SourceHeader,
    presentation: SourcePresentation,
    image: ImageResult,
    provenance: Provenance,
    uids: ObjectUids,
) -> Dataset:
    """Write the presentation state of one image.

    It shows the image in its own grey, and over it each finding's outline with its tracking
    identifier and probability. An image without findings says so.

    Parameters
    ----------
    source
        Header of the image.
    presentation
        How the image itself says that it wants to be shown.
    image
        What the models say of it.
    provenance
        Who made it.
    uids
        Identity of the new object.

    Returns
    -------
    Dataset
        Without File Meta Information.

    Raises
    ------
    ResultRejected
        When the side of the image is unknown.
    """
    header = source.dataset
    if image.facts.laterality is None:
        raise ResultRejected(
            f"Image {image.facts.name} has no side, which a presentation state needs; "
            "check the image's header."
        )
    dataset = Dataset()
    source.adopt(dataset)
    sign(dataset, header, provenance)
    dataset.PresentationCreationDate = dataset.ContentDate
    dataset.PresentationCreationTime = dataset.ContentTime
    del dataset.ContentDate, dataset.ContentTime
    dataset.SOPClassUID = GrayscaleSoftcopyPresentationStateStorage
    dataset.SOPInstanceUID = uids.sop_instance_uid
    dataset.Modality = "PR"
    dataset.SeriesInstanceUID = uids.series_instance_uid
    dataset.SeriesNumber = uids.series_number
    dataset.SeriesDescription = series_description(image)
    dataset.Laterality = image.facts.laterality.value
    dataset.BodyPartExamined = "BREAST"
    if "RequestAttributesSequence" in header:
        dataset.RequestAttributesSequence = copy.deepcopy(header.RequestAttributesSequence)
    dataset.InstanceNumber = 1
    dataset.ContentLabel = CONTENT_LABEL
    dataset.ContentDescription = f"{RESEARCH_NOTICE} {image.facts.name}"[:64]
    dataset.ContentCreatorName = "OncoPixel^AI"
    series = Dataset()
    series.SeriesInstanceUID = header.SeriesInstanceUID
    series.ReferencedImageSequence = [sop_reference(header)]
    dataset.ReferencedSeriesSequence = [series]
    _show_grey(dataset, presentation)
    dataset.DisplayedAreaSelectionSequence = [_displayed_area(header, image)]
    dataset.GraphicLayerSequence = [_layer()]
    dataset.GraphicAnnotationSequence = [_annotation(header, image)]
    return dataset


def _show_grey(dataset: Dataset, presentation: SourcePresentation) -> None:
    """Modality LUT, Softcopy VOI LUT and Presentation LUT, as the image has them."""
    if presentation.modality_lut is not None:
        item = write_lut(presentation.modality_lut, signed=presentation.signed)
        item.ModalityLUTType = "US"
        dataset.ModalityLUTSequence = [item]
    elif presentation.rescale is not None:
        intercept, slope = presentation.rescale
        dataset.RescaleIntercept = format_number_as_ds(intercept)
        dataset.RescaleSlope = format_number_as_ds(slope)
        dataset.RescaleType = "US"
    voi = Dataset()
    if presentation.voi_lut is not None:
        stretched = in_16_bits(presentation.voi_lut)
        voi.VOILUTSequence = [write_lut(stretched, signed=presentation.signed)]
    elif presentation.window is not None:
        centre, width, function = presentation.window
        voi.WindowCenter = format_number_as_ds(centre)
        voi.WindowWidth = format_number_as_ds(width)
        voi.VOILUTFunction = function
    if len(voi):
        dataset.SoftcopyVOILUTSequence = [voi]
    dataset.PresentationLUTShape = presentation.shape


def _displayed_area(header: Dataset, image: ImageResult) -> Dataset:
    """Show the whole image, fit to the screen (PS3.3 C.10.4)."""
    area = Dataset()
    area.DisplayedAreaTopLeftHandCorner = [1, 1]
    area.DisplayedAreaBottomRightHandCorner = [header.Columns, header.Rows]
    area.PresentationSizeMode = "SCALE TO FIT"
    if image.facts.spacing_mm is None:
        area.PresentationPixelAspectRatio = [1, 1]
    else:
        area.PresentationPixelSpacing = [format_number_as_ds(mm) for mm in image.facts.spacing_mm]
    return area


def _layer() -> Dataset:
    layer = Dataset()
    layer.GraphicLayer = LAYER
    layer.GraphicLayerOrder = 1
    layer.GraphicLayerRecommendedDisplayCIELabValue = list(_YELLOW_CIELAB)
    layer.GraphicLayerDescription = RESEARCH_NOTICE
    return layer


def _annotation(header: Dataset, image: ImageResult) -> Dataset:
    """Notice in a corner, and outline and label of each finding (PS3.3 C.10.5)."""
    annotation = Dataset()
    annotation.ReferencedImageSequence = [sop_reference(header)]
    annotation.GraphicLayer = LAYER
    said = "" if image.findings else "\r\nSearched - no lesion found"
    texts = [_text(f"AI. {RESEARCH_NOTICE}{said}", "DISPLAY", (0.02, 0.94), (0.5, 0.99))]
    for finding in image.findings:
        texts.append(_label(finding, header.Columns, header.Rows))
    annotation.TextObjectSequence = texts
    if image.findings:
        annotation.GraphicObjectSequence = [_outline(finding) for finding in image.findings]
    return annotation


def _points(finding: Finding) -> list[tuple[float, float]]:
    """``(column, row)``; from pixel centres at whole numbers to the pixel's outer corner at 0."""
    return [(column + 0.5, row + 0.5) for row, column in finding.outline]


def _outline(finding: Finding) -> Dataset:
    points = _points(finding)
    graphic = Dataset()
    graphic.GraphicAnnotationUnits = "PIXEL"
    graphic.GraphicDimensions = 2
    graphic.NumberOfGraphicPoints = len(points)
    graphic.GraphicData = [coordinate for point in points for coordinate in point]
    graphic.GraphicType = "POLYLINE"
    graphic.GraphicFilled = "N"
    graphic.TrackingID = finding.tracking_id
    graphic.TrackingUID = finding.tracking_uid
    return graphic


def _label(finding: Finding, columns: int, rows: int) -> Dataset:
    """Text right of the outline, or left of it where the image ends."""
    points = _points(finding)
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    width, height, gap = _LABEL_WIDTH * columns, _LABEL_HEIGHT * rows, _GAP * columns
    x = right + gap
    if x + width > columns:
        x = max(left - gap - width, 0.0)
    y = min(min(y for _, y in points), rows - height)
    text = f"{finding.tracking_id}  {finding.probability:.0%}"
    return _text(text, "PIXEL", (x, y), (min(x + width, float(columns)), y + height))


def _text(
    value: str, units: str, corner: Sequence[float], opposite_corner: Sequence[float]
) -> Dataset:
    text = Dataset()
    text.BoundingBoxAnnotationUnits = units
    text.UnformattedTextValue = value
    text.BoundingBoxTopLeftHandCorner = list(corner)
    text.BoundingBoxBottomRightHandCorner = list(opposite_corner)
    text.BoundingBoxTextHorizontalJustification = "LEFT"
    return text
