"""The gate before sending: nothing leaves that contradicts its source, itself or its siblings."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from oncopixel_pacs.domain import Laterality, ObjectKind
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.cad_rules import cad_disagreements, cad_problems
from oncopixel_pacs.report.dataset_rules import (
    code_problems,
    file_problems,
    reference_problems,
    uid_problems,
)
from oncopixel_pacs.report.key_object_rules import key_object_problems, selected_uids
from oncopixel_pacs.report.picture_rules import picture_problems, pictured_uid
from oncopixel_pacs.report.presentation_rules import (
    Outlined,
    outlined_findings,
    presentation_problems,
    presented_uid,
)
from oncopixel_pacs.report.report_rules import report_problems, reported_findings, site_problems
from oncopixel_pacs.report.result_objects import BuiltObject
from oncopixel_pacs.report.segmentation_rules import (
    Marked,
    marked_findings,
    segmentation_problems,
    source_uid,
)
from oncopixel_pacs.report.source_header import read_source
from oncopixel_pacs.report.source_presentation import read_presentation

_MOST_PROBLEMS = 10
# How to find the image of an object that has one.
_SOURCE_OF: Mapping[ObjectKind, Callable[[Dataset], str]] = MappingProxyType(
    {
        ObjectKind.SEG: source_uid,
        ObjectKind.SC: pictured_uid,
        ObjectKind.GSPS: presented_uid,
    }
)
# What reading an attribute that is not there, or not what it should be, raises.
_BROKEN = (AttributeError, KeyError, IndexError, TypeError, ValueError, InvalidDicomError)


def check(objects: Iterable[BuiltObject], sources: Mapping[str, Path]) -> None:
    """Check result objects as the bytes that would be sent.

    Parameters
    ----------
    objects
        All result objects of one study.
    sources
        Part 10 file of each image by SOP Instance UID.

    Raises
    ------
    ResultRejected
        Listing what is wrong.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library complains about, the rules find
        try:
            problems = list(_problems(list(objects), sources))
        except _BROKEN as exc:
            problems = [f"an object lacks what its class requires ({exc})"]
    if problems:
        listed = "; ".join(problems[:_MOST_PROBLEMS])
        more = len(problems) - _MOST_PROBLEMS
        rest = f"; and {more} more" if more > 0 else ""
        raise ResultRejected(f"The results were held back: {listed}{rest}. Report this defect.")


def _problems(objects: list[BuiltObject], sources: Mapping[str, Path]) -> Iterator[str]:
    parsed: list[tuple[ObjectKind, Dataset]] = [
        (item.kind, dcmread(io.BytesIO(item.part10))) for item in objects
    ]
    used = _used(parsed, sources)
    headers = {uid: read_source(path).dataset for uid, path in used.items()}
    known = {uid: str(header.SOPClassUID) for uid, header in headers.items()}
    known |= {str(dataset.SOPInstanceUID): str(dataset.SOPClassUID) for _, dataset in parsed}
    foreign = frozenset(
        str(header[keyword].value)
        for header in headers.values()
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    )
    for built, (kind, dataset) in zip(objects, parsed, strict=True):
        for problem in _object_problems(built, kind, dataset, headers, known, foreign):
            yield f"{built.series_description}: {problem}"
        if kind is ObjectKind.GSPS and (path := used.get(presented_uid(dataset))) is not None:
            header = headers[presented_uid(dataset)]
            for problem in presentation_problems(dataset, header, read_presentation(path)):
                yield f"{built.series_description}: {problem}"
    yield from _disagreements(parsed)
    by_kind = {kind: [item for of, item in parsed if of is kind] for kind in ObjectKind}
    for cad in by_kind[ObjectKind.CAD_SR]:
        yield from cad_disagreements(cad, by_kind[ObjectKind.SEG], by_kind[ObjectKind.SR])


def _used(parsed: list[tuple[ObjectKind, Dataset]], sources: Mapping[str, Path]) -> dict[str, Path]:
    """Choose the sources that the objects refer to."""
    wanted = {
        uid for kind, dataset in parsed if kind not in _SOURCE_OF for uid in _evidence(dataset)
    }
    for kind, dataset in parsed:
        if kind in _SOURCE_OF:
            wanted.add(_SOURCE_OF[kind](dataset))
    return {uid: path for uid, path in sources.items() if uid in wanted}


def _object_problems(
    built: BuiltObject,
    kind: ObjectKind,
    dataset: Dataset,
    headers: Mapping[str, Dataset],
    known: Mapping[str, str],
    foreign: frozenset[str],
) -> Iterator[str]:
    if str(dataset.SOPInstanceUID) != built.sop_instance_uid:
        yield "its bytes hold another object"
        return
    find = _SOURCE_OF.get(kind)
    uids = _evidence(dataset) if find is None else [find(dataset)]
    source = next((headers[uid] for uid in uids if uid in headers), None)
    if source is None and kind is ObjectKind.KOS:
        # Its own rules name what it does not select.
        source = next(iter(headers.values()), None)
    if source is None:
        yield "its source is not among the images"
        return
    yield from file_problems(dataset, source)
    yield from code_problems(dataset)
    yield from uid_problems(dataset, foreign)
    yield from reference_problems(dataset, known)
    if kind is ObjectKind.SEG:
        yield from segmentation_problems(dataset, source)
    elif kind is ObjectKind.CAD_SR:
        yield from cad_problems(dataset, headers)
    elif kind is ObjectKind.SC:
        yield from picture_problems(dataset, source)
    elif kind is ObjectKind.KOS:
        yield from key_object_problems(dataset, headers)
    elif kind is ObjectKind.SR:
        yield from report_problems(dataset, headers)
        yield from site_problems(dataset, _sides(headers))


def _evidence(dataset: Dataset) -> list[str]:
    """SOP Instance UIDs that a report was made from, that of its header's source first."""
    return [
        str(item.ReferencedSOPInstanceUID)
        for study in dataset.get("CurrentRequestedProcedureEvidenceSequence") or ()
        for series in study.ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    ]


def _sides(headers: Mapping[str, Dataset]) -> dict[str, str]:
    by_letter = {side.value: codes.SIDES[side].value for side in Laterality}
    return {
        uid: by_letter[header.ImageLaterality]
        for uid, header in headers.items()
        if header.get("ImageLaterality") in by_letter
    }


def _disagreements(parsed: list[tuple[ObjectKind, Dataset]]) -> Iterator[str]:
    """Name findings that not all of segmentations, report and presentation states tell."""
    segmented: set[Marked] = set()
    reported: set[Marked] = set()
    outlined: set[Outlined] = set()
    presented: set[str] = set()
    selections: list[set[str]] = []
    searched: set[str] = set()
    for kind, dataset in parsed:
        if kind is ObjectKind.SEG:
            segmented |= marked_findings(dataset)
            searched.add(source_uid(dataset))
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
    if any(selected & (searched - with_findings) for selected in selections):
        yield "an image without findings is among the key objects"
