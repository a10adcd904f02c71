"""Image library of a structured report: PS3.16 TID 1600, 1601, 1602 and 1603."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs.domain import ImageFacts
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.content_items import Relation, code, container, image, number, text

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


def _descriptors(facts: ImageFacts, header: Dataset) -> Iterator[Dataset]:
    yield code(_ACQUISITION, codes.MODALITY, codes.MAMMOGRAPHY)
    if facts.laterality is not None:
        yield code(_ACQUISITION, codes.IMAGE_LATERALITY, codes.SIDES[facts.laterality])
    if facts.view is not None and facts.view in codes.VIEWS:
        yield code(_ACQUISITION, codes.IMAGE_VIEW, codes.VIEWS[facts.view])
    if len(header.PatientOrientation or ()) == 2:
        row, column = header.PatientOrientation
        yield text(_ACQUISITION, codes.PATIENT_ORIENTATION_ROW, row)
        yield text(_ACQUISITION, codes.PATIENT_ORIENTATION_COLUMN, column)
    yield _pixels(codes.PIXEL_DATA_ROWS, header.Rows)
    yield _pixels(codes.PIXEL_DATA_COLUMNS, header.Columns)
    if facts.spacing_mm is not None:
        row_mm, column_mm = facts.spacing_mm
        yield _spacing(codes.HORIZONTAL_PIXEL_SPACING, column_mm)
        yield _spacing(codes.VERTICAL_PIXEL_SPACING, row_mm)


def _pixels(name: Code, value: int) -> Dataset:
    return number(_ACQUISITION, name, value, codes.PIXELS, decimals=0)


def _spacing(name: Code, value: float) -> Dataset:
    return number(_ACQUISITION, name, value, codes.MILLIMETRE, decimals=6)
