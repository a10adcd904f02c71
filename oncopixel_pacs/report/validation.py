"""The gate before sending: nothing leaves that contradicts its source, itself or its siblings."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from oncopixel_pacs.domain import Laterality, ObjectKind
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report import codes
from oncopixel_pacs.report.agreement import disagreements
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.cad_rules import cad_problems
from oncopixel_pacs.report.dataset_rules import (
    code_problems,
    file_problems,
    reference_problems,
    uid_problems,
)
from oncopixel_pacs.report.key_object_rules import key_object_problems, rejection_problems
from oncopixel_pacs.report.page_rules import page_problems, page_uids
from oncopixel_pacs.report.parsed_object import ParsedItem, ParsedObject
from oncopixel_pacs.report.picture_rules import picture_problems, pictured_uid
from oncopixel_pacs.report.presentation_rules import presentation_problems, presented_uid
from oncopixel_pacs.report.provenance import transfer_syntax
from oncopixel_pacs.report.report_rules import report_problems, site_problems
from oncopixel_pacs.report.segmentation_rules import segmentation_problems, source_uid
from oncopixel_pacs.report.source_header import read_source
from oncopixel_pacs.report.source_presentation import read_presentation

_MOST_PROBLEMS = 10
# How to find the images of an object that is no document with evidence.
_SOURCES_OF: Mapping[ObjectKind, Callable[[ParsedItem], list[str]]] = MappingProxyType(
    {
        ObjectKind.SEG: lambda dataset: [source_uid(dataset)],
        ObjectKind.SC: lambda dataset: [pictured_uid(dataset)],
        ObjectKind.GSPS: lambda dataset: [presented_uid(dataset)],
        ObjectKind.PDF: page_uids,
    }
)
# What reading an attribute that is not there, or not what it should be, raises.
_BROKEN = (AttributeError, KeyError, IndexError, TypeError, ValueError, InvalidDicomError)


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with one object, or, where it has no UID, with the set.

    Attributes
    ----------
    sentence
        Without values of patients.
    """

    sop_instance_uid: str
    sentence: str


def check(objects: Iterable[BuiltObject], sources: Mapping[str, Path]) -> None:
    """Check result objects as the bytes that would be sent, see `find_problems`.

    Raises
    ------
    ResultRejected
        Listing what is wrong.
    """
    problems = find_problems(list(objects), sources)
    if problems:
        raise ResultRejected(sentence_of(problems))


def sentence_of(problems: Sequence[Problem]) -> str:
    """Say that results are held back, and why."""
    listed = "; ".join(item.sentence for item in problems[:_MOST_PROBLEMS])
    more = len(problems) - _MOST_PROBLEMS
    rest = f"; and {more} more" if more > 0 else ""
    return f"The results were held back: {listed}{rest}. Report this defect."


def find_problems(
    objects: Sequence[BuiltObject],
    sources: Mapping[str, Path],
    superseded: Sequence[Dataset] = (),
) -> tuple[Problem, ...]:
    """Check result objects as the bytes that would be sent.

    Parameters
    ----------
    objects
        All result objects of one study.
    sources
        Part 10 file of each image by SOP Instance UID.
    superseded
        Headers of earlier results that a rejection note may refer to.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what the library complains about, the rules find
        return tuple(_problems(objects, sources, superseded))


def _problems(
    objects: Sequence[BuiltObject], sources: Mapping[str, Path], superseded: Sequence[Dataset]
) -> Iterator[Problem]:
    parsed, whole = [], []
    for built in objects:
        try:
            dataset = ParsedObject(built.part10)
            used = _used([(built.kind, dataset)], sources)
            parsed.append((built.kind, dataset))
            whole.append((built, dataset, used))
        except _BROKEN as exc:
            yield _lacking(built, exc)
    used = {uid: path for *_, paths in whole for uid, path in paths.items()}
    # A note that only takes results back names no image; its patient and study are those of any.
    used = used or dict(sorted(sources.items())[:1])
    headers = {uid: read_source(path).dataset for uid, path in used.items()}
    known = {uid: str(header.SOPClassUID) for uid, header in headers.items()}
    known |= {str(item.SOPInstanceUID): str(item.SOPClassUID) for item in superseded}
    known |= {str(dataset.SOPInstanceUID): str(dataset.SOPClassUID) for _, dataset in parsed}
    facts = _Known(headers, known, _own_uids(headers), tuple(superseded))
    for built, dataset, _ in whole:
        try:
            for problem in _object_problems(built, dataset, used, facts):
                text = f"{built.series_description}: {problem}"
                yield Problem(built.sop_instance_uid, text)
        except _BROKEN as exc:
            yield _lacking(built, exc)
    try:
        for problem in disagreements(parsed, frozenset(headers)):
            yield Problem("", problem)
    except _BROKEN as exc:
        yield Problem("", f"an object lacks what its class requires ({exc})")


def _lacking(built: BuiltObject, exc: Exception) -> Problem:
    return Problem(
        built.sop_instance_uid,
        f"{built.series_description}: it lacks what its class requires ({exc})",
    )


@dataclass(frozen=True, slots=True)
class _Known:
    """Headers of the sources, SOP classes of sources and results, and UIDs of the sources' own.

    Beside them headers of earlier results that a rejection note may refer to.
    """

    headers: Mapping[str, Dataset]
    classes: Mapping[str, str]
    foreign: frozenset[str]
    superseded: tuple[Dataset, ...] = ()


def _own_uids(headers: Mapping[str, Dataset]) -> frozenset[str]:
    return frozenset(
        str(header[keyword].value)
        for header in headers.values()
        for keyword in ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
    )


def _used(
    parsed: list[tuple[ObjectKind, ParsedObject]], sources: Mapping[str, Path]
) -> dict[str, Path]:
    """Choose the sources that the objects refer to."""
    wanted = {uid for kind, dataset in parsed for uid in _SOURCES_OF.get(kind, _evidence)(dataset)}
    return {uid: path for uid, path in sources.items() if uid in wanted}


def _object_problems(
    built: BuiltObject, dataset: ParsedObject, used: Mapping[str, Path], known: _Known
) -> Iterator[str]:
    kind, headers = built.kind, known.headers
    if str(dataset.SOPInstanceUID) != built.sop_instance_uid:
        yield "its bytes hold another object"
        return
    find = _SOURCES_OF.get(kind, _evidence)
    source = next((headers[uid] for uid in find(dataset) if uid in headers), None)
    if source is None and kind in (ObjectKind.KOS, ObjectKind.REJECTION):
        # Its own rules name what it does not select. A note may be of another patient than the
        # images, whose results it then takes back.
        of_any = (*headers.values(), *known.superseded)
        of_patient = (item for item in of_any if item.PatientID == dataset.PatientID)
        source = next(of_patient, next(iter(of_any), None))
    if source is None:
        yield "its source is not among the images"
        return
    yield from file_problems(dataset, source, transfer_syntax(kind, built.form))
    yield from code_problems(dataset)
    yield from uid_problems(dataset, known.foreign)
    yield from reference_problems(dataset, known.classes)
    yield from _kind_problems(kind, dataset, source, headers)
    if kind is ObjectKind.GSPS:
        path = used[presented_uid(dataset)]
        yield from presentation_problems(dataset, source, read_presentation(path))


def _kind_problems(
    kind: ObjectKind, dataset: ParsedObject, source: Dataset, headers: Mapping[str, Dataset]
) -> Iterator[str]:
    if kind is ObjectKind.SEG:
        yield from segmentation_problems(dataset, source)
    elif kind is ObjectKind.CAD_SR:
        yield from cad_problems(dataset, headers)
    elif kind is ObjectKind.SC:
        yield from picture_problems(dataset, source)
    elif kind is ObjectKind.KOS:
        yield from key_object_problems(dataset, headers)
    elif kind is ObjectKind.REJECTION:
        yield from rejection_problems(dataset)
    elif kind is ObjectKind.PDF:
        yield from page_problems(dataset)
    elif kind is ObjectKind.SR:
        yield from report_problems(dataset, headers)
        yield from site_problems(dataset, _sides(headers))


def _evidence(dataset: ParsedItem) -> list[str]:
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
