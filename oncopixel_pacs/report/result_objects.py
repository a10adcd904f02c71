"""From one study result to the result objects that are stored and sent."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import Comprehensive3DSRStorage, MammographyCADSRStorage

from oncopixel_pacs.domain import ImageResult, ModelTask, ObjectKind, StudyResult
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.key_objects import Made, build_key_objects
from oncopixel_pacs.report.mammography_cad import build_cad_report
from oncopixel_pacs.report.measurement_report import build_measurement_report
from oncopixel_pacs.report.presentation_state import build_presentation_state
from oncopixel_pacs.report.provenance import Provenance, file_meta
from oncopixel_pacs.report.secondary_capture import build_secondary_capture
from oncopixel_pacs.report.segmentation import ObjectUids, build_segmentation
from oncopixel_pacs.report.source_header import SourceHeader, read_source
from oncopixel_pacs.report.source_presentation import read_presentation
from oncopixel_pacs.uids import derive_uid

ReadLabels = Callable[[str], NDArray[np.uint8] | None]
Existing = Callable[[str], bytes | None]

_REPORT_SERIES = 90_001
_CAD_SERIES = 90_011
_KEY_OBJECT_SERIES = 90_021
_IMAGE_SERIES = {ObjectKind.SEG: 90_100, ObjectKind.SC: 90_200, ObjectKind.GSPS: 90_300}
_VIEW_ORDER = ("R CC", "L CC", "R MLO", "L MLO")


@dataclass(frozen=True, slots=True)
class BuiltObject:
    """A result object, ready to be checked, stored and sent.

    Attributes
    ----------
    dataset
        What `part10` holds.
    part10
        The bytes to store and send.
    repairs
        What was changed in the headers of its sources, one sentence each, without values.
    """

    kind: ObjectKind
    dataset: Dataset
    sop_instance_uid: str
    sop_class_uid: str
    series_instance_uid: str
    series_description: str
    part10: bytes
    repairs: tuple[str, ...]


def build_result_objects(
    result: StudyResult,
    paths: Mapping[str, Path],
    read_labels: ReadLabels,
    provenance: Provenance,
    existing: Existing,
    predecessors: Sequence[Dataset] = (),
    wanted: Collection[ObjectKind] = (ObjectKind.SEG, ObjectKind.SR),
) -> tuple[BuiltObject, ...]:
    """Build the result objects of a study: SEG of each analysed image, report, and what is wanted.

    UIDs are derived from provenance, source SOP Instance UIDs and kind. An object that was
    stored under its UID before is taken as it is.

    Parameters
    ----------
    result
        What the models say of the study.
    paths
        Part 10 file of each image by SOP Instance UID.
    read_labels
        Label map of an image by its SOP Instance UID, see `build_segmentation`.
    provenance
        Who made the result.
    existing
        Bytes of an object that is already stored under a SOP Instance UID.
    predecessors
        Headers of the reports that the new ones replace, each its own kind.
    wanted
        Kinds to build; SEG and report are built in any case, since others refer to them.

    Returns
    -------
    tuple of BuiltObject
        SEGs in the order of the images, the report, the CAD report, then the others. When no
        image was analysed, at most the CAD report, which then says so.

    Raises
    ------
    ResultRejected
        When a source cannot be read, or results and images do not belong together.
    """
    result = _searched(result)
    analysed = [item for item in result.images if item.analysed]
    headers = {item.facts.sop_instance_uid: _source(item, paths) for item in analysed}
    cad = (
        _cad_report(headers, result, paths, provenance, existing, predecessors)
        if ObjectKind.CAD_SR in wanted
        else ()
    )
    if not analysed:
        return cad
    sources = _Sources(headers, paths, read_labels)
    segmentations = dict(_segmentations(analysed, sources, provenance, existing))
    replaced = _of_class(predecessors, Comprehensive3DSRStorage)
    uids = ObjectUids(*_study_uids(result, provenance, ObjectKind.SR, replaced), _REPORT_SERIES)
    report = _stored(ObjectKind.SR, uids, existing) or _built(
        ObjectKind.SR,
        build_measurement_report(
            headers,
            result,
            {uid: item.dataset for uid, item in segmentations.items()},
            provenance,
            uids,
            replaced,
        ),
        provenance,
        _repairs(headers),
    )
    pictures = tuple(_of_images(analysed, sources, provenance, existing, wanted))
    objects = (*segmentations.values(), report, *cad, *(built for _, built in pictures))
    if ObjectKind.KOS not in wanted or not result.findings:
        return objects
    of_images = [*segmentations.items(), *pictures]
    return (*objects, _key_objects(headers, result, of_images, (report,), provenance, existing))


def _searched(result: StudyResult) -> StudyResult:
    """Count an image that the segmenter did not read as not analysed: nothing was looked for."""

    def as_reported(item: ImageResult) -> ImageResult:
        skip = next((skip for skip in item.skipped if skip.task is ModelTask.SEGMENT), None)
        if skip is None or not item.analysed:
            return item
        return replace(item, probability=None, reason=skip.reason, reason_detail=skip.detail)

    return replace(result, images=tuple(as_reported(item) for item in result.images))


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is held of the images, each by SOP Instance UID."""

    headers: Mapping[str, SourceHeader]
    paths: Mapping[str, Path]
    read_labels: ReadLabels


def _segmentations(
    analysed: Sequence[ImageResult],
    sources: _Sources,
    provenance: Provenance,
    existing: Existing,
) -> Iterator[tuple[str, BuiltObject]]:
    """Build the SEG of each image, with the image's UID; none without a segmenter."""
    if provenance.algorithm(ModelTask.SEGMENT) is None:
        return
    for item in analysed:
        uid = item.facts.sop_instance_uid
        uids = _image_uids(ObjectKind.SEG, item, provenance)
        header = sources.headers[uid]
        yield (
            uid,
            _stored(ObjectKind.SEG, uids, existing)
            or _built(
                ObjectKind.SEG,
                build_segmentation(header, item, sources.read_labels(uid), provenance, uids),
                provenance,
                header.repairs,
            ),
        )


def _of_images(
    analysed: Sequence[ImageResult],
    sources: _Sources,
    provenance: Provenance,
    existing: Existing,
    wanted: Collection[ObjectKind],
) -> Iterator[tuple[str, BuiltObject]]:
    """Build the wanted objects that each image gets besides its SEG, with the image's UID."""

    def picture(item: ImageResult, uids: ObjectUids) -> Dataset:
        uid = item.facts.sop_instance_uid
        labels = sources.read_labels(uid)
        return build_secondary_capture(
            sources.headers[uid], sources.paths[uid], item, labels, provenance, uids
        )

    def presentation(item: ImageResult, uids: ObjectUids) -> Dataset:
        uid = item.facts.sop_instance_uid
        shown = read_presentation(sources.paths[uid])
        return build_presentation_state(sources.headers[uid], shown, item, provenance, uids)

    writers = {ObjectKind.SC: picture, ObjectKind.GSPS: presentation}
    for kind, write in writers.items():
        for item in analysed if kind in wanted else ():
            uids = _image_uids(kind, item, provenance)
            source_uid = item.facts.sop_instance_uid
            repairs = sources.headers[source_uid].repairs
            yield (
                source_uid,
                _stored(kind, uids, existing)
                or _built(kind, write(item, uids), provenance, repairs),
            )


def _key_objects(
    headers: Mapping[str, SourceHeader],
    result: StudyResult,
    of_images: Sequence[tuple[str, BuiltObject]],
    reports: Sequence[BuiltObject],
    provenance: Provenance,
    existing: Existing,
) -> BuiltObject:
    """Build the selection of images with findings and of the objects made of them.

    What is selected depends on the kinds that are wanted, so its UIDs make the new one's.
    """
    found = {item.facts.sop_instance_uid for item, _ in result.findings}
    selected = [(uid, built) for uid, built in of_images if uid in found]
    parts = sorted({*found, *(item.sop_instance_uid for _, item in selected)})
    parts += sorted(item.sop_instance_uid for item in reports)
    uids = ObjectUids(
        derive_uid(provenance.digest, *parts, ObjectKind.KOS, "instance"),
        derive_uid(provenance.digest, result.study_instance_uid, ObjectKind.KOS, "series"),
        _KEY_OBJECT_SERIES,
    )
    made = {
        uid: Made(
            pictures=tuple(
                built.dataset
                for of, built in selected
                if of == uid and built.kind is not ObjectKind.GSPS
            ),
            presentation=next(
                (b.dataset for of, b in selected if of == uid and b.kind is ObjectKind.GSPS), None
            ),
        )
        for uid in found
    }
    return _stored(ObjectKind.KOS, uids, existing) or _built(
        ObjectKind.KOS,
        build_key_objects(
            headers, result, made, [item.dataset for item in reports], provenance, uids
        ),
        provenance,
        _repairs({uid: headers[uid] for uid in sorted(found)}),
    )


def _cad_report(
    headers: Mapping[str, SourceHeader],
    result: StudyResult,
    paths: Mapping[str, Path],
    provenance: Provenance,
    existing: Existing,
    predecessors: Sequence[Dataset],
) -> tuple[BuiltObject, ...]:
    """Build the CAD report, if there is a model for it and a header to write it from."""
    known = dict(headers)
    for item in result.images:
        if not item.analysed:
            # An object without a usable header is named in words; it must not fail the others.
            with contextlib.suppress(ResultRejected):
                known[item.facts.sop_instance_uid] = _source(item, paths)
    if not known or provenance.algorithm(ModelTask.SEGMENT) is None:
        return ()
    replaced = _of_class(predecessors, MammographyCADSRStorage)
    uids = ObjectUids(*_study_uids(result, provenance, ObjectKind.CAD_SR, replaced), _CAD_SERIES)
    return (
        _stored(ObjectKind.CAD_SR, uids, existing)
        or _built(
            ObjectKind.CAD_SR,
            build_cad_report(known, result, provenance, uids, replaced),
            provenance,
            _repairs(known),
        ),
    )


def _of_class(predecessors: Sequence[Dataset], sop_class_uid: str) -> list[Dataset]:
    return [item for item in predecessors if item.SOPClassUID == sop_class_uid]


def _repairs(headers: Mapping[str, SourceHeader]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text for header in headers.values() for text in header.repairs))


def _source(item: ImageResult, paths: Mapping[str, Path]) -> SourceHeader:
    uid = item.facts.sop_instance_uid
    if uid not in paths:
        raise ResultRejected(f"The file of image {item.facts.name} is missing; store it again.")
    header = read_source(paths[uid])
    if header.dataset.SOPInstanceUID != uid:
        raise ResultRejected(
            f"The file of image {item.facts.name} holds another image; store it again."
        )
    return header


def _image_uids(kind: ObjectKind, item: ImageResult, provenance: Provenance) -> ObjectUids:
    """Own series for each image: viewers show one object of a SEG series, and a series has a side.

    Laterality (0020,0060) is an attribute of the series (PS3.3 C.7.3.1).
    """
    identity = (provenance.digest, item.facts.sop_instance_uid, kind)
    name = item.facts.name
    order = _VIEW_ORDER.index(name) if name in _VIEW_ORDER else len(_VIEW_ORDER)
    return ObjectUids(
        derive_uid(*identity, "instance"),
        derive_uid(*identity, "series"),
        _IMAGE_SERIES[kind] + order + 1,
    )


def _study_uids(
    result: StudyResult, provenance: Provenance, kind: ObjectKind, predecessors: Sequence[Dataset]
) -> tuple[str, str]:
    """Instance and series of a report; one that replaces others is another instance.

    One series for all revisions of the study, so that viewers show the newest.
    """
    replaced = sorted(str(item.SOPInstanceUID) for item in predecessors)
    sources = sorted(
        f"{item.facts.sop_instance_uid} {item.reason or 'analysed'}" for item in result.images
    )
    return (
        derive_uid(provenance.digest, *sources, *replaced, kind, "instance"),
        derive_uid(provenance.digest, result.study_instance_uid, kind, "series"),
    )


def _stored(kind: ObjectKind, uids: ObjectUids, existing: Existing) -> BuiltObject | None:
    part10 = existing(uids.sop_instance_uid)
    if part10 is None:
        return None
    return _described(kind, dcmread(io.BytesIO(part10)), part10, ())


def _built(
    kind: ObjectKind, dataset: Dataset, provenance: Provenance, repairs: tuple[str, ...]
) -> BuiltObject:
    buffer = io.BytesIO()
    meta = file_meta(dataset, provenance.software_version)
    file = FileDataset(buffer, dataset, preamble=b"\0" * 128, file_meta=meta)
    file.save_as(buffer, enforce_file_format=True)
    return _described(kind, dataset, buffer.getvalue(), repairs)


def _described(
    kind: ObjectKind, dataset: Dataset, part10: bytes, repairs: tuple[str, ...]
) -> BuiltObject:
    return BuiltObject(
        kind=kind,
        dataset=dataset,
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        series_description=str(dataset.SeriesDescription),
        part10=part10,
        repairs=repairs,
    )
