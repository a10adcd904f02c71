"""Analysis of files on disk, in this process and without any network or database."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter
from pydicom import dcmread
from pydicom.errors import InvalidDicomError

from oncopixel_pacs import RESEARCH_NOTICE, __version__
from oncopixel_pacs.domain import (
    ImageFacts,
    ObjectKind,
    SegmentationForm,
    StudyResult,
)
from oncopixel_pacs.imaging.header import read_image_facts
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.overlay import render_overlay
from oncopixel_pacs.imaging.picture import read_picture
from oncopixel_pacs.infer.label_maps import read_label_map
from oncopixel_pacs.infer.loaded_models import LoadedModels
from oncopixel_pacs.infer.probability_maps import read_probability_map
from oncopixel_pacs.infer.reading import AnalysisRequest, RequestedImage, read_study
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.result_objects import Maps, build_result_objects
from oncopixel_pacs.report.sentences import caption
from oncopixel_pacs.report.validation import check
from oncopixel_pacs.route import why_not_in_study

DEFAULT_OBJECTS = (ObjectKind.SEG, ObjectKind.SR)
_RESULT = TypeAdapter(StudyResult)


@dataclass(frozen=True)
class SourceFile:
    """A DICOM file and what its header says."""

    path: Path
    facts: ImageFacts


@dataclass(frozen=True)
class OfflineStudy:
    """What one study gave: the result, its files, and its pictures by SOP Instance UID."""

    result: StudyResult
    sources: tuple[Path, ...]
    objects: tuple[Path, ...]
    pictures: tuple[Path, ...]


def find_sources(paths: Iterable[Path]) -> tuple[dict[str, list[SourceFile]], list[Path]]:
    """Sort DICOM files by study.

    Returns
    -------
    tuple
        Files by Study Instance UID, and the paths that are not DICOM.
    """
    studies: dict[str, list[SourceFile]] = {}
    foreign = []
    for path in _files_below(paths):
        try:
            dataset = dcmread(path, stop_before_pixels=False, defer_size=1024)
        except (InvalidDicomError, OSError, ValueError, EOFError):
            foreign.append(path)
            continue
        facts = read_image_facts(dataset)
        studies.setdefault(facts.study_instance_uid, []).append(SourceFile(path, facts))
    return studies, foreign


def analyse_study(
    study_instance_uid: str,
    sources: list[SourceFile],
    models: LoadedModels,
    out: Path,
    kinds: Collection[ObjectKind] = DEFAULT_OBJECTS,
    form: SegmentationForm = SegmentationForm.BINARY,
) -> OfflineStudy:
    """Read one study and write its result objects, pictures and ``results.json``.

    Only objects of these kinds are written.

    Raises
    ------
    AnalysisFailed
        When the models give no usable answer.
    ResultRejected
        When a result object does not pass the gate; nothing is written then.
    """
    folder = out / hashlib.sha256(study_instance_uid.encode()).hexdigest()[:12]
    labels_dir = folder / "labels"
    labels_dir.mkdir(parents=True, exist_ok=True)
    reasons = why_not_in_study([item.facts for item in sources])
    images = tuple(
        RequestedImage(facts=item.facts, path=item.path, reason=reason)
        for item, reason in zip(sources, reasons, strict=True)
        if not item.facts.is_document
    )
    result = read_study(AnalysisRequest(study_instance_uid, 1, images, labels_dir), models)
    paths = {item.facts.sop_instance_uid: item.path for item in sources}
    provenance = Provenance(result.algorithms, __version__, datetime.now(UTC), result.device)
    built = build_result_objects(
        result,
        paths,
        Maps(
            lambda uid: read_label_map(labels_dir, uid),
            lambda uid: read_probability_map(labels_dir, uid),
        ),
        provenance,
        lambda _uid: None,
        wanted=kinds,
        forms=(form,),
    )
    check(built, paths)
    objects = []
    for number, item in enumerate(item for item in built if item.kind in kinds):
        path = folder / f"{item.kind}-{number:02d}.dcm"
        path.write_bytes(item.part10)
        objects.append(path)
    pictures = tuple(_draw(result, paths, labels_dir, folder))
    notice = {"notice": RESEARCH_NOTICE, **_RESULT.dump_python(result, mode="json")}
    (folder / "results.json").write_bytes(TypeAdapter(dict).dump_json(notice, indent=2))
    return OfflineStudy(result, tuple(paths.values()), tuple(objects), pictures)


def _draw(
    result: StudyResult, paths: dict[str, Path], labels_dir: Path, folder: Path
) -> Iterator[Path]:
    for number, image in enumerate(result.images):
        if not image.analysed:
            continue
        uid = image.facts.sop_instance_uid
        png = render_overlay(
            read_mammogram(paths[uid]) if image.picture is None else read_picture(paths[uid]),
            read_label_map(labels_dir, uid),
            caption(image),
        )
        path = folder / f"overlay-{number:02d}-{image.facts.name.replace(' ', '-')}.png"
        path.write_bytes(png)
        yield path


def _files_below(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from sorted(item for item in path.rglob("*") if item.is_file())
        else:
            yield path
