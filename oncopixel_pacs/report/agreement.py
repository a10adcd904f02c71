"""Whether all objects of a set say the same: which findings, side, view, probability, place."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.cad_rules import (
    cad_disagreements,
    cad_outlines,
    shown_images,
)
from oncopixel_pacs.report.key_object_rules import selected_uids
from oncopixel_pacs.report.parsed_object import ParsedItem, ParsedObject
from oncopixel_pacs.report.picture_rules import pictured_uid
from oncopixel_pacs.report.presentation_rules import (
    Outlined,
    outlined_findings,
    outlines,
    presented_uid,
    stated_percents,
)
from oncopixel_pacs.report.report_rules import (
    outcome_of,
    reported_findings,
    reported_outlines,
    reported_percents,
)
from oncopixel_pacs.report.segmentation_rules import (
    Marked,
    marked_boxes,
    marked_findings,
    source_uid,
    stated_probabilities,
)

Parsed = Sequence[tuple[ObjectKind, ParsedObject]]

_VIEW_NAMES = {code.value: view.value for view, code in codes.VIEWS.items()}
# An outline is simplified by a pixel, and lies on the edge of its mask.
_NEAR_PX = 2.5


def disagreements(parsed: Parsed, images: frozenset[str]) -> Iterator[str]:
    """Name everything that not all objects of a set tell alike.

    Parameters
    ----------
    parsed
        All objects of one study.
    images
        SOP Instance UIDs of the images that the objects were made from.
    """
    yield from _findings(parsed, images)
    by_kind = {kind: [item for of, item in parsed if of is kind] for kind in ObjectKind}
    reports = by_kind[ObjectKind.SR]
    for cad in by_kind[ObjectKind.CAD_SR]:
        yield from cad_disagreements(cad, by_kind[ObjectKind.SEG], reports)
    if len({outcome_of(item) for item in (*reports, *by_kind[ObjectKind.CAD_SR])}) > 1:
        yield "the reports do not say the same of the study as a whole"
    yield from _places(by_kind)
    yield from _scores(by_kind)
    yield from _views(parsed, reports)


def _findings(parsed: Parsed, images: frozenset[str]) -> Iterator[str]:
    """Name findings that not all of segmentations, report and presentation states tell."""
    segmented: set[Marked] = set()
    reported: set[Marked] = set()
    outlined: set[Outlined] = set()
    presented: set[str] = set()
    selections: list[set[str]] = []
    for kind, dataset in parsed:
        if kind is ObjectKind.SEG:
            segmented |= marked_findings(dataset)
        elif kind is ObjectKind.SR:
            reported |= reported_findings(dataset)
        elif kind is ObjectKind.GSPS:
            outlined |= outlined_findings(dataset)
            presented.add(presented_uid(dataset))
        elif kind is ObjectKind.KOS:
            selections.append(selected_uids(dataset))
    for finding in sorted(segmented - reported, key=lambda item: item.tracking_id):
        yield f"finding {finding.tracking_id} of the segmentation is not so in the report"
    for finding in sorted(reported - segmented, key=lambda item: item.tracking_id):
        yield f"finding {finding.tracking_id} of the report is not so in the segmentation"
    drawn = {
        (item.tracking_id, item.tracking_uid, item.source_uid)
        for item in segmented
        if item.source_uid in presented
    }
    for tracking_id, *_ in sorted(drawn ^ outlined):
        yield f"finding {tracking_id} differs between segmentation and presentation state"
    with_findings = {item.source_uid for item in segmented}
    if any(with_findings - selected for selected in selections):
        yield "an image with findings is not among the key objects"
    if any(selected & images - with_findings for selected in selections):
        yield "an image without findings is among the key objects"


def _places(by_kind: Mapping[ObjectKind, Sequence[ParsedObject]]) -> Iterator[str]:
    """Compare outlines with each other, and with the pixels of the segmentations."""
    told: dict[str, set[tuple[float, ...]]] = {}
    for kind, read in (
        (ObjectKind.SR, reported_outlines),
        (ObjectKind.CAD_SR, cad_outlines),
        (ObjectKind.GSPS, outlines),
    ):
        for dataset in by_kind[kind]:
            for uid, points in read(dataset).items():
                told.setdefault(uid, set()).add(points)
    if any(len(different) > 1 for different in told.values()):
        yield "the outline of a finding is not the same in all objects"
    for dataset in by_kind[ObjectKind.SEG]:
        for uid, (top, left, bottom, right) in marked_boxes(dataset).items():
            for points in told.get(uid, ()):
                columns, rows = points[::2], points[1::2]
                # Outlines count from the corner of the first pixel, masks from its centre.
                beyond = max(
                    left - min(columns),
                    max(columns) - right - 1,
                    top - min(rows),
                    max(rows) - bottom - 1,
                )
                if beyond > _NEAR_PX:
                    yield "the outline of a finding lies elsewhere than its pixels"


def _scores(by_kind: Mapping[ObjectKind, Sequence[ParsedObject]]) -> Iterator[str]:
    """Compare the probability of each finding, as far as each object has it written out."""
    percents: dict[str, float] = {}
    for dataset in by_kind[ObjectKind.SR]:
        percents |= reported_percents(dataset)
    for kind, read, rounding in (
        (ObjectKind.SEG, stated_probabilities, 0.06),
        (ObjectKind.GSPS, stated_percents, 0.51),
    ):
        for dataset in by_kind[kind]:
            for uid, percent in read(dataset).items():
                if abs(percents.get(uid, percent) - percent) > rounding:
                    yield "the probability of a finding is not the same in all objects"


def _views(parsed: Parsed, reports: Sequence[ParsedItem]) -> Iterator[str]:
    """Compare the name in each series description with side and view in the reports."""
    find = {
        ObjectKind.SEG: source_uid,
        ObjectKind.SC: pictured_uid,
        ObjectKind.GSPS: presented_uid,
    }
    for kind, dataset in parsed:
        if kind not in find:
            continue
        for report in reports:
            side, view = shown_images(report).get(find[kind](dataset), ("", ""))
            name = f"{side} {_VIEW_NAMES.get(view, '')}"
            stated = str(dataset.SeriesDescription)
            if side and view and not re.search(rf"\b{re.escape(name)}\b", stated):
                yield f"{stated}: it is of another side or view than the report says"
