"""CPU time and size of every result object of a four-view study: ``python -m benchmarks.results``.

Draws one sample study of full size with a lesion, marks the lesion where the generator put it (in
the CC and the MLO view of one breast), and writes every kind of object from that one result.
Neither models nor a server take part.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread

from oncopixel_pacs.domain import (
    Algorithm,
    ImageResult,
    Laterality,
    ModelTask,
    ObjectKind,
    SegmentationForm,
    StudyResult,
)
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.imaging.geometry import Geometry
from oncopixel_pacs.imaging.header import read_image_facts
from oncopixel_pacs.infer.findings import Naming, find_lesions
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.provenance import Provenance
from oncopixel_pacs.report.result_objects import Maps, build_result_objects
from oncopixel_pacs.report.validation import check
from sample_dicom.study import make_study

ROWS, COLUMNS = 4096, 3328
_GRID = 8  # stored pixels to a pixel of the pretended model
_ALGORITHMS = (
    Algorithm("classifier", "1.0.0", ModelTask.CLASSIFY, "a" * 64, "c" * 64, 0.5),
    Algorithm("segmenter", "1.0.0", ModelTask.SEGMENT, "b" * 64, "c" * 64, 0.5),
)
_PROVENANCE = Provenance(_ALGORITHMS, "benchmark", datetime(2026, 1, 1, tzinfo=UTC), "cpu")
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Case:
    """A study on disk, what was found in it, and the maps of its images."""

    result: StudyResult
    paths: dict[str, Path]
    labels: dict[str, NDArray[np.uint8]]
    probabilities: dict[str, NDArray[np.uint8]]

    def build(
        self, kinds: tuple[ObjectKind, ...], form: SegmentationForm
    ) -> tuple[BuiltObject, ...]:
        """Write these kinds; segmentations and report come in any case."""
        return build_result_objects(
            self.result,
            self.paths,
            Maps(self.labels.get, self.probabilities.get),
            _PROVENANCE,
            lambda _uid: None,
            wanted=kinds,
            forms=(form,),
        )


def make_case(folder: Path, seed: int) -> Case:
    """Draw a study and pretend the result of models that read it well."""
    study = make_study(seed, rows=ROWS, columns=COLUMNS, lesion=True)
    images, paths = [], {}
    labels: dict[str, NDArray[np.uint8]] = {}
    probabilities: dict[str, NDArray[np.uint8]] = {}
    for number, sample in enumerate(study):
        path = folder / f"{number}.dcm"
        sample.dataset.save_as(path, enforce_file_format=True)
        facts = read_image_facts(dcmread(path, defer_size=1024))
        uid = facts.sop_instance_uid
        paths[uid] = path
        answer, breast = _answer(sample.lesion_mask, seed + number)
        shape = (ROWS, COLUMNS)
        geometry = Geometry(shape, (0, 0, *shape), False, answer.shape, answer.shape)
        findings, found = find_lesions(
            answer,
            breast,
            geometry,
            threshold=0.5,
            pixel_size_mm=_GRID * (facts.spacing_mm or (0.07, 0.07))[0],
            spacing_mm=facts.spacing_mm or (0.07, 0.07),
            naming=Naming(facts.name, lambda n, uid=uid: derive_uid("benchmark", uid, str(n))),
        )
        if findings:
            labels[uid] = found
        probabilities[uid] = geometry.labels_to_stored(np.rint(answer * 255).astype(np.uint8))
        images.append(ImageResult(facts, 0.8 if findings else 0.1, findings))
    images.sort(key=lambda item: item.facts.sop_instance_uid)
    breasts = {
        side: max(i.probability or 0.0 for i in images if i.facts.laterality is side)
        for side in Laterality
    }
    uid = images[0].facts.study_instance_uid
    result = StudyResult(
        uid, 1, _ALGORITHMS, tuple(images), MappingProxyType(breasts), max(breasts.values())
    )
    return Case(result, paths, labels, probabilities)


def _answer(lesion: NDArray[np.bool_], seed: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Pretend a segmenter: sure of the lesion, a little unsure of the rest of the breast."""
    shape = (ROWS // _GRID, COLUMNS // _GRID)
    noise = np.random.default_rng(seed).random(shape, dtype=np.float32)
    row, column = np.mgrid[: shape[0], : shape[1]]
    breast = (row / shape[0] - 0.5) ** 2 / 0.2 + (column / shape[1] - 0.5) ** 2 / 0.25 < 1
    answer = np.where(breast, 0.1 * noise**4, 0).astype(np.float32)
    if lesion.any():
        inside = lesion.reshape(shape[0], _GRID, shape[1], _GRID).mean(axis=(1, 3)) > 0.5
        answer[inside] = 0.9
        breast |= inside
    return answer, breast


def cpu_seconds(work: Callable[[], Item], repeats: int) -> tuple[float, Item]:
    """Least CPU time of several runs, and what the work gave."""
    best, given = float("inf"), work()
    for _ in range(repeats):
        begin = time.process_time()
        given = work()
        best = min(best, time.process_time() - begin)
    return best, given


def main() -> None:
    """Measure and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        case = make_case(Path(folder), options.seed)
        source = sum(path.stat().st_size for path in case.paths.values())
        found = len(case.result.findings)
        print(f"source: {len(case.paths)} images, {source / 1e6:.1f} MB; findings: {found}\n")
        _print_kinds(case, source, options.repeats)
        _print_sets(case, source, options.repeats)


def _print_kinds(case: Case, source: int, repeats: int) -> None:
    print("| what is written | objects | CPU s | MB | of the source |\n|---|---|---|---|---|")
    form = SegmentationForm.BINARY
    base, _ = cpu_seconds(lambda: case.build((), form), repeats)
    for segmentation in SegmentationForm:
        seconds, built = cpu_seconds(lambda f=segmentation: case.build((), f), repeats)
        _print_row(f"seg ({segmentation}) and sr", built, seconds, source)
    for kind in (ObjectKind.CAD_SR, ObjectKind.SC, ObjectKind.GSPS, ObjectKind.PDF, ObjectKind.KOS):
        seconds, built = cpu_seconds(lambda k=kind: case.build((k,), form), repeats)
        own = tuple(item for item in built if item.kind is kind)
        _print_row(str(kind), own, seconds - base, source)


def _print_sets(case: Case, source: int, repeats: int) -> None:
    default = (ObjectKind.SEG, ObjectKind.SR)
    every = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)
    for name, kinds in (("default set (seg, sr)", default), ("every kind", every)):
        for form in SegmentationForm:
            seconds, built = cpu_seconds(lambda k=kinds, f=form: case.build(k, f), repeats)
            _print_row(f"**{name}, {form}**", built, seconds, source)
            if form is SegmentationForm.BINARY:
                checked, _ = cpu_seconds(lambda b=built: check(b, case.paths), repeats)
                print(f"| our gate over it | {len(built)} | {checked:.2f} | | |")
    sizes: dict[ObjectKind, list[int]] = defaultdict(list)
    for item in case.build(every, SegmentationForm.BINARY):
        sizes[item.kind].append(len(item.part10))
    print("\n| kind | bytes of one object |\n|---|---|")
    for kind, each in sizes.items():
        print(f"| {kind} | {min(each)} to {max(each)} |")


def _print_row(name: str, built: tuple[BuiltObject, ...], seconds: float, source: int) -> None:
    size = sum(len(item.part10) for item in built)
    share = f"{100 * size / source:.2f} %"
    print(f"| {name} | {len(built)} | {seconds:.2f} | {size / 1e6:.2f} | {share} |")


if __name__ == "__main__":
    main()
