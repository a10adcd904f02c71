"""Content items of structured reports (PS3.3 C.17.3), one function for each value type.

Written out rather than taken from the SR classes of highdicom: those write a segment number
beside a frame number (forbidden by PS3.3 C.18.4), know no by-reference relation, and bring
code meanings that are not ASCII.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum

from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from oncopixel_pacs.report.codes import code_item
from oncopixel_pacs.report.sequence_item import new_item


class Relation(StrEnum):
    """Relationship Type (0040,A010) of an item to its parent."""

    CONTAINS = "CONTAINS"
    HAS_ACQ_CONTEXT = "HAS ACQ CONTEXT"
    HAS_CONCEPT_MOD = "HAS CONCEPT MOD"
    HAS_OBS_CONTEXT = "HAS OBS CONTEXT"
    HAS_PROPERTIES = "HAS PROPERTIES"
    INFERRED_FROM = "INFERRED FROM"
    SELECTED_FROM = "SELECTED FROM"


def container(
    name: Code, children: Iterable[Dataset], relation: Relation | None = Relation.CONTAINS
) -> Dataset:
    """Item of value type CONTAINER; without relation it is the root of a document."""
    item = _item("CONTAINER", name, relation, children)
    item.ContinuityOfContent = "SEPARATE"
    return item


def code(relation: Relation, name: Code, value: Code, children: Iterable[Dataset] = ()) -> Dataset:
    """Item of value type CODE."""
    item = _item("CODE", name, relation, children)
    item.ConceptCodeSequence = [code_item(value)]
    return item


def text(relation: Relation, name: Code, value: str) -> Dataset:
    """Item of value type TEXT."""
    item = _item("TEXT", name, relation)
    item.TextValue = value
    return item


def uid_reference(relation: Relation, name: Code, value: str) -> Dataset:
    """Item of value type UIDREF."""
    item = _item("UIDREF", name, relation)
    item.UID = value
    return item


def number(
    relation: Relation,
    name: Code,
    value: float,
    unit: Code,
    children: Iterable[Dataset] = (),
    *,
    decimals: int = 2,
) -> Dataset:
    """Item of value type NUM, rounded to `decimals`."""
    item = _item("NUM", name, relation, children)
    measured = new_item()
    measured.NumericValue = f"{value:.{decimals}f}"[:16]
    measured.MeasurementUnitsCodeSequence = [code_item(unit)]
    item.MeasuredValueSequence = [measured]
    return item


def image(
    relation: Relation,
    name: Code | None,
    instance: Dataset,
    children: Iterable[Dataset] = (),
    *,
    frame: int | None = None,
    segment: int | None = None,
) -> Dataset:
    """Item of value type IMAGE that refers to an instance, or to one of its frames or segments.

    Only one of both may be given (PS3.3 table 10-3).
    """
    item = _item("IMAGE", name, relation, children)
    reference = sop_reference(instance)
    if frame is not None:
        reference.ReferencedFrameNumber = frame
    if segment is not None:
        reference.ReferencedSegmentNumber = segment
    item.ReferencedSOPSequence = [reference]
    return item


def composite(relation: Relation, instance: Dataset) -> Dataset:
    """Item of value type COMPOSITE that refers to an instance which is no image."""
    item = _item("COMPOSITE", None, relation)
    item.ReferencedSOPSequence = [sop_reference(instance)]
    return item


def date(relation: Relation, name: Code, value: str) -> Dataset:
    """Item of value type DATE."""
    item = _item("DATE", name, relation)
    item.Date = value
    return item


def time(relation: Relation, name: Code, value: str) -> Dataset:
    """Item of value type TIME."""
    item = _item("TIME", name, relation)
    item.Time = value
    return item


def by_reference(relation: Relation, identifier: Sequence[int]) -> Dataset:
    """Refer to another item of the tree (PS3.3 C.17.3.2.5).

    Parameters
    ----------
    identifier
        Referenced Content Item Identifier (0040,DB73): 1 for the root, then the 1-based
        position in each Content Sequence on the way down.
    """
    item = new_item()
    item.RelationshipType = relation.value
    item.ReferencedContentItemIdentifier = list(identifier)
    return item


def polyline(
    relation: Relation, name: Code, points: Sequence[tuple[float, float]], selected_from: Dataset
) -> Dataset:
    """Item of value type SCOORD: a polyline on an image.

    Parameters
    ----------
    points
        ``(column, row)`` in pixels; ``(0, 0)`` is the outer corner of the first pixel, so
        that pixel centres lie at halves (PS3.3 C.18.6.1.2).
    selected_from
        The image.
    """
    selected = image(Relation.SELECTED_FROM, None, selected_from)
    return graphic(relation, name, "POLYLINE", points, selected)


def graphic(
    relation: Relation,
    name: Code,
    graphic_type: str,
    points: Sequence[tuple[float, float]],
    selected_from: Dataset,
) -> Dataset:
    """Item of value type SCOORD.

    Parameters
    ----------
    graphic_type
        Graphic Type (0070,0023): ``POINT`` or ``POLYLINE``.
    points
        As for `polyline`.
    selected_from
        Item with the relation SELECTED FROM: an image, or a reference to one.
    """
    item = _item("SCOORD", name, relation, [selected_from])
    item.GraphicType = graphic_type
    item.GraphicData = [coordinate for point in points for coordinate in point]
    return item


def sop_reference(instance: Dataset) -> Dataset:
    """SOP Instance Reference Macro, PS3.3 table 10-11."""
    reference = new_item()
    reference.ReferencedSOPClassUID = instance.SOPClassUID
    reference.ReferencedSOPInstanceUID = instance.SOPInstanceUID
    return reference


def _item(
    value_type: str, name: Code | None, relation: Relation | None, children: Iterable[Dataset] = ()
) -> Dataset:
    item = new_item()
    item.ValueType = value_type
    if relation is not None:
        item.RelationshipType = relation.value
    if name is not None:
        item.ConceptNameCodeSequence = [code_item(name)]
    content = list(children)
    if content:
        item.ContentSequence = content
    return item
