"""Rules for presentation states, and which findings a presentation state outlines."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

from oncopixel_pacs import RESEARCH_NOTICE
from oncopixel_pacs.report.parsed_object import ParsedItem
from oncopixel_pacs.report.presentation_state import CONTENT_LABEL
from oncopixel_pacs.report.source_presentation import SourcePresentation

Outlined = tuple[str, str, str]


def presented_uid(dataset: ParsedItem) -> str:
    """SOP Instance UID of the image that a presentation state is for."""
    series = dataset.ReferencedSeriesSequence[0]
    return str(series.ReferencedImageSequence[0].ReferencedSOPInstanceUID)


def outlined_findings(dataset: ParsedItem) -> set[Outlined]:
    """Read tracking identifier, tracking UID and image of each outline."""
    uid = presented_uid(dataset)
    return {(str(item.TrackingID), str(item.TrackingUID), uid) for item in _graphics(dataset)}


def outlines(dataset: ParsedItem) -> dict[str, tuple[float, ...]]:
    """Coordinates of each outline by its tracking UID."""
    return {
        str(item.TrackingUID): tuple(float(number) for number in item.GraphicData)
        for item in _graphics(dataset)
    }


def stated_percents(dataset: ParsedItem) -> dict[str, float]:
    """Probability beside each outline, in percent, by its tracking UID."""
    texts = [
        str(text.UnformattedTextValue)
        for annotation in dataset.GraphicAnnotationSequence
        for text in annotation.TextObjectSequence
    ]
    found = {}
    for item in _graphics(dataset):
        start = f"{item.TrackingID}  "
        for text in texts:
            if text.startswith(start) and text.endswith("%"):
                found[str(item.TrackingUID)] = float(text.removeprefix(start).removesuffix("%"))
    return found


def presentation_problems(
    dataset: ParsedItem, source: Dataset, shown: SourcePresentation
) -> Iterator[str]:
    """Check that it shows its source in the source's own grey, and outlines inside of it.

    Parameters
    ----------
    shown
        Grayscale transformations of the source.
    """
    series = dataset.ReferencedSeriesSequence
    if len(series) != 1 or len(series[0].ReferencedImageSequence) != 1:
        yield "it refers to more than one image"
    side = source.get("ImageLaterality")
    if side and dataset.get("Laterality") != side:
        yield "Laterality differs from its source"
    if dataset.ContentLabel != CONTENT_LABEL or RESEARCH_NOTICE not in dataset.ContentDescription:
        yield "its label or description does not say that it is for research use only"
    area = dataset.DisplayedAreaSelectionSequence[0]
    corners = (*area.DisplayedAreaTopLeftHandCorner, *area.DisplayedAreaBottomRightHandCorner)
    if corners != (1, 1, source.Columns, source.Rows):
        yield "it does not show the whole image"
    yield from _grey_problems(dataset, shown)
    yield from _graphic_problems(dataset, source)


def _grey_problems(dataset: ParsedItem, shown: SourcePresentation) -> Iterator[str]:
    if dataset.PresentationLUTShape != shown.shape:
        yield "its polarity is not that of its source"
    rescale = None
    if "RescaleSlope" in dataset:
        rescale = (float(dataset.RescaleIntercept), float(dataset.RescaleSlope))
    if rescale != shown.rescale:
        yield "its rescale is not that of its source"
    if ("ModalityLUTSequence" in dataset) != (shown.modality_lut is not None):
        yield "its Modality LUT is not that of its source"
    items = dataset.get("SoftcopyVOILUTSequence") or ()
    if len(items) > 1:
        yield "it has more than one VOI transformation"
    item = items[0] if items else ParsedItem(Dataset())
    if ("VOILUTSequence" in item) != (shown.voi_lut is not None):
        yield "its VOI LUT is not that of its source"
    for keyword in ("WindowCenter", "WindowWidth"):
        if keyword in item and not isinstance(item.get(keyword), float):
            yield f"{keyword} has more than one value"
            return
    window = None
    if "WindowCenter" in item:
        function = str(item.get("VOILUTFunction", "LINEAR"))
        window = (float(item.WindowCenter), float(item.WindowWidth), function)
    if window != shown.window:
        yield "its window is not the first of its source"


def _graphic_problems(dataset: ParsedItem, source: Dataset) -> Iterator[str]:
    layers = {str(layer.GraphicLayer) for layer in dataset.GraphicLayerSequence}
    if any(str(item.GraphicLayer) not in layers for item in dataset.GraphicAnnotationSequence):
        yield "a graphic lies on a layer that is not there"
    texts = [
        text
        for annotation in dataset.GraphicAnnotationSequence
        for text in annotation.TextObjectSequence
    ]
    said = [str(text.UnformattedTextValue) for text in texts]
    if not any(RESEARCH_NOTICE in text for text in said):
        yield "no text on the image says that it is for research use only"
    for text in texts:
        across, down = (source.Columns, source.Rows) if _in_pixels(text) else (1.0, 1.0)
        corners = (*text.BoundingBoxTopLeftHandCorner, *text.BoundingBoxBottomRightHandCorner)
        if not _inside(corners, across, down):
            yield "a text lies outside its image"
    for item in _graphics(dataset):
        points = [float(number) for number in item.GraphicData]
        if not _inside(points, source.Columns, source.Rows):
            yield "an outline lies outside its image"
        if len(points) != 2 * item.NumberOfGraphicPoints or points[:2] != points[-2:]:
            yield "an outline is not closed"
        if not any(text.startswith(f"{item.TrackingID} ") for text in said):
            yield f"outline {item.TrackingID} has no label"


def _in_pixels(text: ParsedItem) -> bool:
    return bool(text.BoundingBoxAnnotationUnits == "PIXEL")


def _inside(numbers: Sequence[float], across: float, down: float) -> bool:
    return all(0 <= x <= across for x in numbers[::2]) and all(
        0 <= y <= down for y in numbers[1::2]
    )


def _graphics(dataset: ParsedItem) -> list[ParsedItem]:
    return [
        item
        for annotation in dataset.GraphicAnnotationSequence
        for item in annotation.get("GraphicObjectSequence") or ()
    ]
