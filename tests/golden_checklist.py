"""The golden checklist: what must hold of every result object, whoever built it and of what.

It shares no rule with our own gate. Independent validators look first; what none of them knows
is checked here on the parsed objects.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.datadict import tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import (
    Comprehensive3DSRStorage,
    ComprehensiveSRStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    KeyObjectSelectionDocumentStorage,
    MammographyCADSRStorage,
    SegmentationStorage,
)

from oncopixel_pacs.report.external_validation import find_errors, validate_with_tools
from tests.pixelmed import template_problems

LABEL_MAP = "1.2.840.10008.5.1.4.1.1.66.7"
SEGMENTATIONS = (SegmentationStorage, LABEL_MAP)
TEMPLATES = {
    ComprehensiveSRStorage: "1500",
    Comprehensive3DSRStorage: "1500",
    MammographyCADSRStorage: "4000",
    KeyObjectSelectionDocumentStorage: "2010",
}
_MOST_UID = 2**128


@dataclass(frozen=True)
class ResultSet:
    """Result objects of one study and the images they were made from, as files.

    Attributes
    ----------
    name
        Which test built them.
    elsewhere
        SOP Instance UIDs that may be referred to though they are not among the objects.
    """

    name: str
    objects: Sequence[Path]
    sources: Sequence[Path]
    elsewhere: Collection[str] = ()

    def source_headers(self) -> dict[str, Dataset]:
        headers = (dcmread(path, stop_before_pixels=True) for path in self.sources)
        return {str(header.SOPInstanceUID): header for header in headers}


def validators(results: ResultSet) -> Iterator[str]:
    """Points 1 to 3: dciodvfy and dcentvfy find no error, dsrdump reads every document."""
    sets = {_charset(header) for header in results.source_headers().values()}
    for problem in validate_with_tools(results.objects, results.sources).problems:
        # Text that had to be written in UTF-8 has other bytes than the source's.
        reencoded = problem.startswith("dcentvfy") and _is_text(problem)
        if "UID that was referenced" in problem and any(u in problem for u in results.elsewhere):
            continue
        if reencoded and any(_charset(dcmread(p)) not in sets for p in results.objects):
            continue
        if not (problem.startswith("dcentvfy") and _is_invalid_in(results.sources, problem)):
            yield problem


def templates(results: ResultSet) -> Iterator[str]:
    """Point 4: PixelMed's template rules, on the documents that have a root template."""
    documents = [p for p in results.objects if dcmread(p).SOPClassUID in TEMPLATES]
    for path, complaints in template_problems(documents).items():
        yield from (f"{path.name}: {line}" for line in complaints)


def segmentations(results: ResultSet) -> Iterator[str]:
    """Point 5: a segmentation lies on the pixels of its image, without a frame of reference."""
    sources = results.source_headers()
    for seg in _parsed(results, *SEGMENTATIONS):
        series = seg.ReferencedSeriesSequence
        if len(series) != 1 or len(series[0].ReferencedInstanceSequence) != 1:
            yield "SEG: it does not refer to exactly one image"
            continue
        source = sources.get(series[0].ReferencedInstanceSequence[0].ReferencedSOPInstanceUID)
        if source is None:
            yield "SEG: its image is not among the sources"
            continue
        if (seg.Rows, seg.Columns) != (source.Rows, source.Columns):
            yield "SEG: Rows and Columns are not those of the source"
        directions = _directions(source)
        if directions is not None and list(seg.get("PatientOrientation") or ()) != directions:
            yield "SEG: Patient Orientation is not that of the source"
        if "FrameOfReferenceUID" in seg:
            yield "SEG: it has a Frame of Reference"
        made_of = [
            source for item in _all(seg, "DerivationImageSequence") for source in _images(item)
        ]
        if not made_of or any(i.get("SpatialLocationsPreserved") != "YES" for i in made_of):
            yield "SEG: Spatial Locations Preserved is not YES"


def presentations(results: ResultSet) -> Iterator[str]:
    """Point 6: polarity and side of the image, and one window."""
    sources = results.source_headers()
    for state in _parsed(results, GrayscaleSoftcopyPresentationStateStorage):
        source = sources.get(_presented(state))
        if source is None:
            yield "PR: its image is not among the sources"
            continue
        inverse = str(source.get("PhotometricInterpretation")) == "MONOCHROME1"
        if state.PresentationLUTShape != ("INVERSE" if inverse else "IDENTITY"):
            yield "PR: polarity is not that of the source"
        side = source.get("ImageLaterality")
        if side in ("L", "R", "B") and state.get("Laterality") != side:
            yield "PR: Laterality is not that of the source"
        for item in state.get("SoftcopyVOILUTSequence") or ():
            if "WindowCenter" in item and np.ndim(item.WindowCenter) != 0:
                yield "PR: it has more than one window"


def documents(results: ResultSet) -> Iterator[str]:
    """Point 7: template, references by position, coordinates, closed outlines, frame or segment."""
    sources = results.source_headers()
    for document in _parsed(results, *TEMPLATES):
        template = document.get("ContentTemplateSequence") or [Dataset()]
        if template[0].get("TemplateIdentifier") != TEMPLATES[document.SOPClassUID]:
            yield "SR: the template is not named"
        for item in _all(document, "ReferencedSOPSequence"):
            if "ReferencedFrameNumber" in item and "ReferencedSegmentNumber" in item:
                yield "SR: a reference has both frame and segment"
        for parent, item in content_items(document):
            yield from _item_problems(document, parent, item, sources)


def text_and_uids(results: ResultSet) -> Iterator[str]:
    """Point 8: code meanings in ASCII, UIDs of legal form and length."""
    for path in results.objects:
        dataset = dcmread(path)
        for element in dataset.iterall():
            if element.keyword == "CodeMeaning" and not str(element.value).isascii():
                yield f"{path.name}: a code meaning is not ASCII"
            values = element.value if element.VM > 1 else [element.value]
            for value in values if element.VR == "UI" and element.value else ():
                number = str(value).removeprefix("2.25.")
                too_large = number != value and number.isdigit() and int(number) >= _MOST_UID
                if len(value) > 64 or too_large or not str(value).replace(".", "").isdigit():
                    yield f"{path.name}: {element.keyword} is no UID"


def renderings(results: ResultSet) -> Iterator[str]:
    """Point 10: DCMTK renders an image through its presentation state as it does without."""
    sources = {str(dcmread(p, stop_before_pixels=True).SOPInstanceUID): p for p in results.sources}
    for path in results.objects:
        state = dcmread(path, stop_before_pixels=True)
        if state.SOPClassUID != GrayscaleSoftcopyPresentationStateStorage:
            continue
        image = sources[_presented(state)]
        if not _shows_plainly(dcmread(image, stop_before_pixels=True)):
            continue
        if not state.PatientName:
            continue  # legal (PS3.3 C.7.1.1, Type 2), but DCMTK does not load such a state
        image = _uncompressed(image)
        alone, through = rendered(image), rendered(image, path)
        # A VOI LUT is stretched to 16 bits, which may round the other way.
        if alone.shape != through.shape or np.abs(alone.astype(int) - through).max() > 1:
            yield f"{path.name}: the image looks otherwise through it"


CHECKLIST: Mapping[str, Callable[[ResultSet], Iterator[str]]] = {
    "1 to 3: dciodvfy, dcentvfy, dsrdump": validators,
    "4: PixelMed templates": templates,
    "5: segmentations lie on their image": segmentations,
    "6: presentation states keep polarity, side, window": presentations,
    "7: documents refer and point to what is there": documents,
    "8: ASCII codes, legal UIDs": text_and_uids,
    "10: dcmp2pgm": renderings,
}


def rendered(image: Path, state: Path | None = None) -> np.ndarray:
    """Grey of an image as dcmp2pgm renders it, ``(rows, columns)`` in 0 to 255."""
    if shutil.which("dcmp2pgm") is None:
        pytest.skip("not installed: dcmp2pgm (apt-get install dcmtk)")
    bitmap = (state or image).with_suffix(".pgm")
    options = [] if state is None else ["-p", str(state)]
    subprocess.run(["dcmp2pgm", *options, str(image), str(bitmap)], check=True, timeout=120)
    magic, width, height, rest = bitmap.read_bytes().split(None, 3)
    assert magic == b"P5", magic
    bitmap.unlink()
    # One white space follows the largest value.
    pixels = rest.split(b"\n", 1)[1] if b"\n" in rest[:5] else rest.split(None, 1)[1]
    return np.frombuffer(pixels, np.uint8).reshape(int(height), int(width))


def _uncompressed(image: Path) -> Path:
    """Image that dcmp2pgm reads: it has no decoders."""
    dataset = dcmread(image)
    if not dataset.file_meta.TransferSyntaxUID.is_compressed:
        return image
    dataset.decompress(generate_instance_uid=False)
    dataset.save_as(image.with_suffix(".raw.dcm"))
    return image.with_suffix(".raw.dcm")


def _shows_plainly(source: Dataset) -> bool:
    """Whether the source itself is consistent; without that there is nothing to compare with."""
    pair = (source.get("PhotometricInterpretation"), source.get("PresentationLUTShape"))
    legal = {("MONOCHROME1", "INVERSE"), ("MONOCHROME2", "IDENTITY")}
    widths = np.atleast_1d(source.get("WindowWidth") or 0)
    shown = "VOILUTSequence" in source or float(widths[0]) >= 1
    return pair in legal and shown and source.get("VOILUTFunction", "LINEAR") != "WAVY"


def _parsed(results: ResultSet, *classes: str) -> Iterator[Dataset]:
    for path in results.objects:
        dataset = dcmread(path)
        if dataset.SOPClassUID in classes:
            yield dataset


def _directions(image: Dataset) -> list[str] | None:
    """Patient Orientation, unless it is none (PS3.3 C.7.6.1.1.1)."""
    values = [str(value) for value in image.get("PatientOrientation") or ()]
    told = len(values) == 2 and all(value and set(value) <= set("APRLHF") for value in values)
    return values if told or not values else None


def _charset(dataset: Dataset) -> str:
    return str(dataset.get("SpecificCharacterSet") or "")


def _is_text(problem: str) -> bool:
    named = ("PatientName", "PatientID", "ReferringPhysicianName", "StudyDescription", "StudyID")
    return any(f"<{keyword}>" in problem for keyword in (*named, "AccessionNumber"))


def _is_invalid_in(sources: Sequence[Path], problem: str) -> bool:
    """Whether the attribute that differs had to: dciodvfy finds no valid value in a source."""
    keyword = problem.partition("Element=<")[2].partition(">")[0]
    if (tag := tag_for_keyword(keyword)) is None:
        return False
    wrong = f"Value invalid for this VR - (0x{tag >> 16:04x},0x{tag & 0xFFFF:04x})"
    return any(wrong in sentence for _, sentence in find_errors(sources, 120).errors)


def _all(dataset: Dataset, keyword: str) -> Iterator[Dataset]:
    for element in dataset.iterall():
        if element.keyword == keyword:
            yield from element.value


def _images(derivation: Dataset) -> Iterator[Dataset]:
    yield from derivation.SourceImageSequence


def _presented(state: Dataset) -> str:
    return str(
        state.ReferencedSeriesSequence[0].ReferencedImageSequence[0].ReferencedSOPInstanceUID
    )


def content_items(parent: Dataset) -> Iterator[tuple[Dataset, Dataset]]:
    for item in parent.get("ContentSequence") or ():
        yield parent, item
        yield from content_items(item)


def _item_problems(
    document: Dataset, parent: Dataset, item: Dataset, sources: Mapping[str, Dataset]
) -> Iterator[str]:
    if "ReferencedContentItemIdentifier" in item:
        target = _target(document, item.ReferencedContentItemIdentifier)
        if target is None or target.get("ValueType") != "IMAGE":
            yield "SR: a reference by position does not lead to an image"
    if item.get("ValueType") != "SCOORD":
        return
    points = np.asarray(item.GraphicData, float).reshape(-1, 2)
    if item.GraphicType == "POLYLINE" and not np.array_equal(points[0], points[-1]):
        yield "SR: an outline is not closed"
    source = selected_image(document, item, sources)
    if source is None:
        yield "SR: coordinates are not on an image of the study"
    elif (points < 0).any() or (points > (source.Columns, source.Rows)).any():
        yield "SR: coordinates lie outside their image"


def selected_image(
    document: Dataset, item: Dataset, sources: Mapping[str, Dataset]
) -> Dataset | None:
    for child in item.get("ContentSequence") or ():
        held = child
        if "ReferencedContentItemIdentifier" in child:
            held = _target(document, child.ReferencedContentItemIdentifier) or Dataset()
        for reference in held.get("ReferencedSOPSequence") or ():
            if reference.ReferencedSOPInstanceUID in sources:
                return sources[reference.ReferencedSOPInstanceUID]
    return None


def _target(document: Dataset, position: Sequence[int]) -> Dataset | None:
    item = document
    for number in position[1:]:
        children = item.get("ContentSequence") or ()
        if not 0 < number <= len(children):
            return None
        item = children[number - 1]
    return item
