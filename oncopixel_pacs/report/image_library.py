"""Image library of a structured report: PS3.16 TID 1600 to 1603, and TID 4020 for CAD."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs.domain import ImageFacts
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import (
    Relation,
    code,
    container,
    date,
    image,
    number,
    text,
    time,
)

_ACQUISITION = Relation.HAS_ACQ_CONTEXT


def image_library(images: Sequence[tuple[ImageFacts, Dataset]]) -> Dataset:
    """List the images with side, view, orientation, size and pixel size.

    Parameters
    ----------
    images
        Facts and header of each image.
    """
    entries = [
        image(Relation.CONTAINS, codes.SOURCE, header, _descriptors(facts, header))
        for facts, header in images
    ]
    return container(codes.IMAGE_LIBRARY, [container(codes.IMAGE_LIBRARY_GROUP, entries)])


def cad_image_library(images: Sequence[tuple[ImageFacts, Dataset]]) -> Dataset:
    """List the images of a CAD report, to be referred to by their position (TID 4020).

    Parameters
    ----------
    images
        Facts and header of each image.
    """
    entries = [
        image(Relation.CONTAINS, None, header, _cad_descriptors(facts, header))
        for facts, header in images
    ]
    return container(codes.IMAGE_LIBRARY, entries)


def _cad_descriptors(facts: ImageFacts, header: Dataset) -> Iterator[Dataset]:
    if facts.laterality is not None:
        yield code(_ACQUISITION, codes.IMAGE_LATERALITY, codes.SIDED_BREASTS[facts.laterality])
    yield from _view(facts)
    yield from _orientation(header)
    if header.StudyDate:
        yield date(_ACQUISITION, codes.STUDY_DATE, str(header.StudyDate))
    if header.StudyTime:
        yield time(_ACQUISITION, codes.STUDY_TIME, str(header.StudyTime))
    yield from _spacings(facts)


def _descriptors(facts: ImageFacts, header: Dataset) -> Iterator[Dataset]:
    yield code(_ACQUISITION, codes.MODALITY, codes.modality(facts.modality))
    if facts.laterality is not None:
        yield code(_ACQUISITION, codes.IMAGE_LATERALITY, codes.SIDES[facts.laterality])
    yield from _view(facts)
    yield from _orientation(header)
    yield _pixels(codes.PIXEL_DATA_ROWS, header.Rows)
    yield _pixels(codes.PIXEL_DATA_COLUMNS, header.Columns)
    yield from _spacings(facts)


def _view(facts: ImageFacts) -> Iterator[Dataset]:
    if facts.view is not None and facts.view in codes.VIEWS:
        yield code(_ACQUISITION, codes.IMAGE_VIEW, codes.VIEWS[facts.view])


def _orientation(header: Dataset) -> Iterator[Dataset]:
    if len(header.PatientOrientation or ()) == 2:
        row, column = header.PatientOrientation
        yield text(_ACQUISITION, codes.PATIENT_ORIENTATION_ROW, row)
        yield text(_ACQUISITION, codes.PATIENT_ORIENTATION_COLUMN, column)


def _spacings(facts: ImageFacts) -> Iterator[Dataset]:
    if facts.spacing_mm is not None:
        row_mm, column_mm = facts.spacing_mm
        yield _spacing(codes.HORIZONTAL_PIXEL_SPACING, column_mm)
        yield _spacing(codes.VERTICAL_PIXEL_SPACING, row_mm)


def _pixels(name: Code, value: int) -> Dataset:
    return number(_ACQUISITION, name, value, codes.PIXELS, decimals=0)


def _spacing(name: Code, value: float) -> Dataset:
    return number(_ACQUISITION, name, value, codes.MILLIMETRE, decimals=6)
