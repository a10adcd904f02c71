"""Left and right are never swapped: a mirrored study gives mirrored results, from pixels on."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from mammogram_builder import COLUMNS
from mirror_builder import OTHER, PLACES, RADIUS, Name, Place, ReadStudy, read_screening
from pydicom import dcmread
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Laterality, ObjectKind
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.validation import check
from tests.golden_checklist import content_items, selected_image

KINDS = (ObjectKind.SEG, ObjectKind.SR, ObjectKind.CAD_SR, ObjectKind.GSPS)
SIDES = {
    "7771000": Laterality.LEFT,
    "24028007": Laterality.RIGHT,
    "80248007": Laterality.LEFT,
    "73056007": Laterality.RIGHT,
}
Box = tuple[float, float, float, float]
"""Left, top, right, bottom of an outline, in coordinates of PS3.3 C.18.6.1.2."""

# Inside the breast, away from its border and from the vessel.
inside = st.tuples(st.integers(170, 310), st.integers(80, 130))


@settings(max_examples=2)
@given(places=st.fixed_dictionaries(dict.fromkeys(PLACES, inside)))
def test_a_mirrored_study_gives_mirrored_results(places: Mapping[Name, Place]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = read_screening(Path(folder) / "plain", places)
        mirrored = read_screening(Path(folder) / "mirrored", places, mirrored=True)
        made, reflected = plain.build(*KINDS), mirrored.build(*KINDS)
        check(made, plain.paths)
        check(reflected, mirrored.paths)
        for side, view in PLACES:
            here, there = (
                plain.sop_instance_uid((side, view)),
                mirrored.sop_instance_uid((OTHER[side], view)),
            )
            np.testing.assert_array_equal(_mask(made, here), _mask(reflected, there)[..., ::-1])
            for kind in KINDS[1:]:
                boxes = list(_boxes(made, kind, plain, here))
                others = list(_boxes(reflected, kind, mirrored, there))
                assert boxes, kind
                np.testing.assert_allclose(boxes, [_flipped(box) for box in others], atol=1)
                row, column = plain.masses[side, view]
                for left, top, right, bottom in boxes:
                    assert left < column < right and top < row < bottom
                    assert max(right - left, bottom - top) < 3 * RADIUS
        for built, study in ((made, plain), (reflected, mirrored)):
            assert set(_told_sides(built, study)) == {(side, side) for side in Laterality}


def _mask(built: tuple[BuiltObject, ...], source: str) -> np.ndarray:
    (seg,) = (
        item.dataset
        for item in built
        if item.kind is ObjectKind.SEG
        and item.dataset.ReferencedSeriesSequence[0]
        .ReferencedInstanceSequence[0]
        .ReferencedSOPInstanceUID
        == source
    )
    mask = seg.pixel_array
    assert mask.any()
    return mask


def _boxes(
    built: tuple[BuiltObject, ...], kind: ObjectKind, study: ReadStudy, source: str
) -> Iterator[Box]:
    """Outlines of findings on an image, those around whole images left out."""
    headers = {uid: dcmread(path, stop_before_pixels=True) for uid, path in study.paths.items()}
    for item in (item.dataset for item in built if item.kind is kind):
        for shape in _outlines(item, headers, source):
            points = np.asarray(shape, float).reshape(-1, 2)
            box = (*points.min(axis=0), *points.max(axis=0))
            if len(points) > 2 and box[2] - box[0] < COLUMNS - 1:
                yield box


def _outlines(
    dataset: Dataset, headers: Mapping[str, Dataset], source: str
) -> Iterator[list[float]]:
    for _, item in content_items(dataset):
        if item.get("ValueType") == "SCOORD":
            image = selected_image(dataset, item, headers)
            if image is not None and image.SOPInstanceUID == source:
                yield item.GraphicData
    for annotation in dataset.get("GraphicAnnotationSequence") or ():
        shown = dataset.ReferencedSeriesSequence[0].ReferencedImageSequence[0]
        if shown.ReferencedSOPInstanceUID == source:
            for graphic in annotation.get("GraphicObjectSequence") or ():
                yield graphic.GraphicData


def _flipped(box: Box) -> Box:
    left, top, right, bottom = box
    return COLUMNS - right, top, COLUMNS - left, bottom


def _told_sides(
    built: tuple[BuiltObject, ...], study: ReadStudy
) -> Iterator[tuple[Laterality, Laterality]]:
    """Side of each finding's image, and the side that the report says."""
    side_of = {item.facts.sop_instance_uid: item.facts.laterality for item in study.result.images}
    (report,) = (item.dataset for item in built if item.kind is ObjectKind.SR)
    for _, group in content_items(report):
        told = [
            SIDES[child.ConceptCodeSequence[0].CodeValue]
            for _, child in content_items(group)
            if child.ValueType == "CODE" and child.ConceptCodeSequence[0].CodeValue in SIDES
        ]
        sources = [
            side_of[reference.ReferencedSOPInstanceUID]
            for _, child in content_items(group)
            for reference in child.get("ReferencedSOPSequence") or ()
            if reference.ReferencedSOPInstanceUID in side_of
        ]
        if group.get("ConceptNameCodeSequence") and len(set(told)) == 1 and sources:
            name = group.ConceptNameCodeSequence[0].CodeValue
            if name == "125007":  # Measurement Group
                for side in sources:
                    assert side is not None
                    yield side, told[0]
