"""Reading studies: decode, prepare, ask the models, gather one result each. No torch here.

Images are opened side by side; while the models work on the first of them, the others are opened.
Images that have the same shape go through the models together, of whichever study they are.

A study of mammograms is read here, one of other pictures in `picture_reading`.
"""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs import __version__
from oncopixel_pacs.domain import (
    Finding,
    ImageFacts,
    ImageResult,
    Laterality,
    Reason,
    Skip,
    StudyResult,
    Subject,
)
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.errors import AnalysisFailed, UnreadableImage
from oncopixel_pacs.imaging.mammogram import Decoder, decode_here, read_mammogram
from oncopixel_pacs.imaging.plausibility import require_breast
from oncopixel_pacs.imaging.preprocess import Prepared, Preprocessing, prepare, search
from oncopixel_pacs.infer.cards import models_digest
from oncopixel_pacs.infer.findings import Naming, find_lesions
from oncopixel_pacs.infer.label_maps import remove_label_map, write_label_map
from oncopixel_pacs.infer.picture_reading import read_pictures
from oncopixel_pacs.infer.probability_maps import write_probability_map
from oncopixel_pacs.infer.request import AnalysisRequest as AnalysisRequest
from oncopixel_pacs.infer.request import RequestedImage as RequestedImage
from oncopixel_pacs.infer.request import (
    Stopwatch,
    read_by_none,
    require_file,
    require_same_image,
    skips,
    unread,
)

if TYPE_CHECKING:
    from oncopixel_pacs.infer.loaded_models import LoadedModel, LoadedModels


@dataclass(frozen=True, slots=True)
class _Study:
    """A study under way: what is asked, who reads it, and what is known of its images so far."""

    request: AnalysisRequest
    models: LoadedModels
    watch: Stopwatch = field(default_factory=Stopwatch)
    results: dict[str, ImageResult] = field(default_factory=dict)

    @property
    def images(self) -> list[RequestedImage]:
        """In the order in which they are read."""
        return sorted(self.request.images, key=lambda image: image.facts.sop_instance_uid)

    @property
    def pictures(self) -> bool:
        """Whether it is no study of mammograms; `picture_reading` reads it then."""
        return self.models.subject is Subject.PICTURE

    @property
    def read(self) -> bool:
        """Whether every image has its result."""
        return not self.pictures and len(self.results) == len(self.request.images)

    def keep(self, result: ImageResult) -> None:
        self.results[result.facts.sop_instance_uid] = result


@dataclass(frozen=True, slots=True)
class _Readable:
    """An image that is ready for the models, but for those in `skipped`.

    `prepared` is on their grid.
    """

    study: _Study
    facts: ImageFacts
    spacing_mm: tuple[float, float]
    prepared: Prepared
    skipped: tuple[Skip, ...]

    @property
    def kind(self) -> object:
        """Images of one kind can go through the models together."""
        read_by = [item for item in self.study.models.models if self.is_for(item)]
        return self.prepared.image.shape, *(item.algorithm.name for item in read_by)

    def is_for(self, model: LoadedModel) -> bool:
        """Whether a model reads it."""
        return all(item.task is not model.algorithm.task for item in self.skipped)


def read_study(
    request: AnalysisRequest, models: LoadedModels, decoder: Decoder = decode_here
) -> StudyResult:
    """Read one study; see `read_studies`."""
    (result,) = read_studies([request], models, decoder)
    return result


def read_studies(
    requests: Sequence[AnalysisRequest],
    models: LoadedModels,
    decoder: Decoder = decode_here,
    openers: int = 1,
) -> Iterator[StudyResult]:
    """Read every image of some studies that has no reason against it, by one model of each task.

    Images are taken study by study in the order of their SOP Instance UIDs, in batches of equal
    shape. An image that cannot be decoded or shows no breast gets that reason, and the others go
    on. An image that one model asks not to read is read by the other, and each model that did
    not read it stands there with its reason. Without a classifier no image has a probability,
    without a segmenter none has findings.

    Parameters
    ----------
    openers
        Images that are decoded and prepared at a time. The same for any number: the results.

    Yields
    ------
    StudyResult
        In the order of the requests, each as soon as it and those before it are read, with
        ``timings_seconds`` for ``decode``, ``prepare``,
        ``classify``, ``segment`` and ``findings``. What was done side by side is added up, and
        of what was done for several studies together each has its share.

    Raises
    ------
    AnalysisFailed
        When a file is not the image it should be, or a model gives no usable answer. Which of
        the studies that are left it was is not told: read them one by one.
    """
    studies = [_Study(item, _models_for(item, models)) for item in requests]
    tasks = [(image, study) for study in studies if not study.pictures for image in study.images]
    waiting = deque(studies)
    with ThreadPoolExecutor(openers, thread_name_prefix="open") as threads:
        opened = threads.map(lambda task: _open(task[0], task[1], decoder), tasks)
        for batch in _batches(opened, models):
            _read_batch(batch)
            while waiting and waiting[0].read:
                yield _gather(waiting.popleft())
    for study in waiting:
        yield _read_as_pictures(study, decoder) if study.pictures else _gather(study)


def _models_for(request: AnalysisRequest, models: LoadedModels) -> LoadedModels:
    if request.only:
        return models.named(request.only)
    return models.chosen_for([image.routed for image in request.images])


def _gather(study: _Study) -> StudyResult:
    ordered = tuple(study.results[image.facts.sop_instance_uid] for image in study.images)
    breasts = _breast_probabilities(ordered)
    return StudyResult(
        study_instance_uid=study.request.study_instance_uid,
        revision=study.request.revision,
        algorithms=study.models.algorithms,
        images=ordered,
        breasts=breasts,
        probability=max(breasts.values(), default=None),
        device=study.models.device,
        timings_seconds=dict(study.watch.seconds),
    )


def _read_as_pictures(study: _Study, decoder: Decoder) -> StudyResult:
    request, models, watch = study.request, study.models, study.watch
    return StudyResult(
        study_instance_uid=request.study_instance_uid,
        revision=request.revision,
        algorithms=models.algorithms,
        images=read_pictures(study.images, request.labels_dir, models, watch, decoder),
        breasts={},
        probability=None,
        device=models.device,
        timings_seconds=dict(watch.seconds),
        subject=Subject.PICTURE,
    )


def _open(image: RequestedImage, study: _Study, decoder: Decoder) -> _Readable | None:
    """Decode and prepare an image; ``None`` when it is not read, which its study knows then."""
    outcome = _opened(image, study, decoder)
    if isinstance(outcome, ImageResult):
        study.keep(outcome)
        return None
    return outcome


def _opened(image: RequestedImage, study: _Study, decoder: Decoder) -> _Readable | ImageResult:
    facts, models, watch = image.facts, study.models, study.watch
    if image.reason is not None:
        return unread(facts, models, image.reason)
    if facts.spacing_mm is None:
        return unread(facts, models, Reason.NO_PIXEL_SPACING)
    skipped = tuple(skips(image, models))
    if (unseen := read_by_none(facts, models, skipped)) is not None:
        return unseen
    require_file(image)
    try:
        with watch.stage("decode"):
            mammogram = read_mammogram(image.path, decoder)
        require_same_image(mammogram.facts, facts)
        with watch.stage("prepare"):
            searched = search(mammogram.pixels, facts.spacing_mm)
            require_breast(searched)
            prepared = prepare(mammogram.pixels, facts.spacing_mm, Preprocessing(), searched)
    except UnreadableImage as exc:
        return unread(facts, models, exc.reason, exc.detail)
    return _Readable(study, facts, facts.spacing_mm, prepared, skipped)


def _batches(opened: Iterator[_Readable | None], models: LoadedModels) -> Iterator[list[_Readable]]:
    """Group images of one kind; a full group goes on while later images are being opened.

    A GPU is best used by full groups. The CPU gains nothing from images of another study, whose
    result would only come later for it.
    """
    groups: dict[object, list[_Readable]] = defaultdict(list)
    study: _Study | None = None
    for image in filter(None, opened):
        if not models.gpus and image.study is not study:
            yield from groups.values()
            groups.clear()
        study = image.study
        groups[image.kind].append(image)
        if len(groups[image.kind]) == models.batch_images:
            yield groups.pop(image.kind)
    yield from groups.values()


def _read_batch(batch: list[_Readable]) -> None:
    scores, maps = _ask(batch)
    segmenter = batch[0].study.models.segmenter
    for image, score, probability in zip(batch, scores, maps, strict=True):
        findings: tuple[Finding, ...] = ()
        if segmenter is not None and probability is not None:
            with image.study.watch.stage("findings"):
                findings = _findings(image, probability, segmenter)
        image.study.keep(
            ImageResult(image.facts, probability=score, findings=findings, skipped=image.skipped)
        )


def _ask(
    batch: list[_Readable],
) -> tuple[Sequence[float | None], Sequence[NDArray[np.float32] | None]]:
    """Ask the models of one batch; on the CPU both at a time.

    No network keeps every core busy from its first layer to its last; two fill each other's gaps.
    """
    pixels = np.stack([image.prepared.image for image in batch])
    models = batch[0].study.models
    classifier, segmenter = (
        model if model is not None and batch[0].is_for(model) else None
        for model in (models.classifier, models.segmenter)
    )

    def classify() -> Sequence[float | None]:
        if classifier is None:
            return [None] * len(batch)
        with _shared_stage(batch, "classify"):
            return [float(score) for score in classifier.probabilities(pixels)]

    def segment() -> Sequence[NDArray[np.float32] | None]:
        if segmenter is None:
            return [None] * len(batch)
        with _shared_stage(batch, "segment"):
            return list(segmenter.probabilities(pixels))

    if models.gpus or classifier is None or segmenter is None:
        return classify(), segment()
    scores = models.beside.submit(classify)
    maps = segment()
    return scores.result(), maps


@contextmanager
def _shared_stage(batch: list[_Readable], name: str) -> Iterator[None]:
    """Give each image of a batch, and so its study, an equal share of the time."""
    start = time.perf_counter()
    yield
    share = (time.perf_counter() - start) / len(batch)
    for image in batch:
        image.study.watch.add(name, share)


def _findings(
    image: _Readable, probability: NDArray[np.float32], segmenter: LoadedModel
) -> tuple[Finding, ...]:
    sop_uid, labels_dir = image.facts.sop_instance_uid, image.study.request.labels_dir
    digest = models_digest(image.study.models.algorithms, __version__)
    findings, labels = find_lesions(
        probability,
        image.prepared.breast,
        image.prepared.geometry,
        threshold=segmenter.algorithm.threshold,
        outline_threshold=segmenter.algorithm.outline_threshold,
        pixel_size_mm=segmenter.card.pixel_size_mm,
        spacing_mm=image.spacing_mm,
        naming=Naming(
            image.facts.name,
            lambda number: derive_uid("tracking", digest, *image.facts.content_key, str(number)),
        ),
    )
    prepared = image.prepared
    try:
        write_probability_map(labels_dir, sop_uid, probability, prepared.breast, prepared.geometry)
        if findings:
            write_label_map(labels_dir, sop_uid, labels)
        else:
            remove_label_map(labels_dir, sop_uid)
    except OSError as exc:
        raise AnalysisFailed(
            f"The maps of image {sop_uid} cannot be written ({exc.strerror}); "
            "check space and rights in the data directory."
        ) from exc
    return findings


def _breast_probabilities(images: tuple[ImageResult, ...]) -> Mapping[Laterality, float]:
    """Mean over the analysed images of each breast."""
    scores: dict[Laterality, list[float]] = defaultdict(list)
    for image in images:
        if image.probability is not None and image.facts.laterality is not None:
            scores[image.facts.laterality].append(image.probability)
    return {side: fmean(scores[side]) for side in Laterality if side in scores}
