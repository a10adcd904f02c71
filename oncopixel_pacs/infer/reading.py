"""Reading one study: decode, prepare, ask the models, gather one result. No torch here.

A study of mammograms is read here, one of other pictures in `picture_reading`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
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
from oncopixel_pacs.infer.request import Stopwatch, require_file, skips, unread
from oncopixel_pacs.uids import derive_uid

if TYPE_CHECKING:
    from oncopixel_pacs.infer.loaded_models import LoadedModel, LoadedModels

_BATCH = 4  # images at once: the views of a screening study


@dataclass(frozen=True, slots=True)
class _Readable:
    """An image that is ready for the models, but for those in `skipped`.

    `prepared` is on their grid.
    """

    facts: ImageFacts
    spacing_mm: tuple[float, float]
    prepared: Prepared
    skipped: tuple[Skip, ...]

    def is_for(self, model: LoadedModel) -> bool:
        """Whether a model reads it."""
        return all(item.task is not model.algorithm.task for item in self.skipped)


def read_study(
    request: AnalysisRequest, models: LoadedModels, decoder: Decoder = decode_here
) -> StudyResult:
    """Read every image of a study that has no reason against it, by one model of each task.

    Images are taken in the order of their SOP Instance UIDs, in batches of equal shape, so the
    same study gives the same result. An image that cannot be decoded or shows no breast gets
    that reason, and the others go on. An image that one model asks not to read is read by the
    other, and each model that did not read it stands there with its reason. Without a classifier
    no image has a probability, without a segmenter none has findings.

    Returns
    -------
    StudyResult
        With ``timings_seconds`` for ``decode``, ``prepare``, ``classify``, ``segment`` and
        ``findings``.

    Raises
    ------
    AnalysisFailed
        When a file is not the image it should be, or a model gives no usable answer.
    """
    watch = Stopwatch()
    images = sorted(request.images, key=lambda image: image.facts.sop_instance_uid)
    if request.only:
        models = models.named(request.only)
    else:
        models = models.chosen_for([image.routed for image in images])
    if models.subject is Subject.PICTURE:
        return _read_as_pictures(request, images, models, watch, decoder)
    results: dict[str, ImageResult] = {}
    readable: list[_Readable] = []
    for image in images:
        outcome = _open(image, models, watch, decoder)
        if isinstance(outcome, _Readable):
            readable.append(outcome)
        else:
            results[image.facts.sop_instance_uid] = outcome
    for batch in _batches(readable):
        for result in _read_batch(batch, request.labels_dir, models, watch):
            results[result.facts.sop_instance_uid] = result
    ordered = tuple(results[image.facts.sop_instance_uid] for image in images)
    breasts = _breast_probabilities(ordered)
    return StudyResult(
        study_instance_uid=request.study_instance_uid,
        revision=request.revision,
        algorithms=models.algorithms,
        images=ordered,
        breasts=breasts,
        probability=max(breasts.values(), default=None),
        device=models.device,
        timings_seconds=dict(watch.seconds),
    )


def _read_as_pictures(
    request: AnalysisRequest,
    images: list[RequestedImage],
    models: LoadedModels,
    watch: Stopwatch,
    decoder: Decoder,
) -> StudyResult:
    return StudyResult(
        study_instance_uid=request.study_instance_uid,
        revision=request.revision,
        algorithms=models.algorithms,
        images=read_pictures(images, request.labels_dir, models, watch, decoder),
        breasts={},
        probability=None,
        device=models.device,
        timings_seconds=dict(watch.seconds),
        subject=Subject.PICTURE,
    )


def _open(
    image: RequestedImage, models: LoadedModels, watch: Stopwatch, decoder: Decoder
) -> _Readable | ImageResult:
    facts = image.facts
    if image.reason is not None:
        return unread(facts, models, image.reason)
    if facts.spacing_mm is None:
        return unread(facts, models, Reason.NO_PIXEL_SPACING)
    skipped = tuple(skips(image, models))
    if len(skipped) == len(models.algorithms):
        first = skipped[0]
        return ImageResult(facts, reason=first.reason, reason_detail=first.detail, skipped=skipped)
    require_file(image)
    try:
        with watch.stage("decode"):
            mammogram = read_mammogram(image.path, decoder)
        if mammogram.facts.sop_instance_uid != facts.sop_instance_uid:
            raise AnalysisFailed(
                f"The file kept for image {facts.sop_instance_uid} holds another image; "
                "send the image again.",
                permanent=True,
            )
        with watch.stage("prepare"):
            searched = search(mammogram.pixels, facts.spacing_mm)
            require_breast(searched)
            prepared = prepare(mammogram.pixels, facts.spacing_mm, Preprocessing(), searched)
    except UnreadableImage as exc:
        return unread(facts, models, exc.reason, exc.detail)
    return _Readable(facts, facts.spacing_mm, prepared, skipped)


def _batches(images: list[_Readable]) -> Iterator[list[_Readable]]:
    """Group images of one shape that the same models read."""
    alike: dict[object, list[_Readable]] = defaultdict(list)
    for image in images:
        tasks = frozenset(item.task for item in image.skipped)
        alike[image.prepared.image.shape, tasks].append(image)
    for group in alike.values():
        for start in range(0, len(group), _BATCH):
            yield group[start : start + _BATCH]


def _read_batch(
    batch: list[_Readable], labels_dir: Path, models: LoadedModels, watch: Stopwatch
) -> Iterator[ImageResult]:
    pixels = np.stack([image.prepared.image for image in batch])
    scores: list[float | None] = [None] * len(batch)
    classifier, segmenter = models.classifier, models.segmenter
    if classifier is not None and batch[0].is_for(classifier):
        with watch.stage("classify"):
            scores = [float(score) for score in classifier.probabilities(pixels)]
    if segmenter is None or not batch[0].is_for(segmenter):
        for image, score in zip(batch, scores, strict=True):
            yield ImageResult(image.facts, probability=score, skipped=image.skipped)
        return
    with watch.stage("segment"):
        maps = segmenter.probabilities(pixels)
    digest = models_digest(models.algorithms, __version__)
    for image, score, probability in zip(batch, scores, maps, strict=True):
        with watch.stage("findings"):
            findings = _findings(image, probability, segmenter, digest, labels_dir)
        yield ImageResult(image.facts, probability=score, findings=findings, skipped=image.skipped)


def _findings(
    image: _Readable,
    probability: NDArray[np.float32],
    segmenter: LoadedModel,
    digest: str,
    labels_dir: Path,
) -> tuple[Finding, ...]:
    sop_uid = image.facts.sop_instance_uid
    findings, labels = find_lesions(
        probability,
        image.prepared.breast,
        image.prepared.geometry,
        threshold=segmenter.algorithm.threshold,
        pixel_size_mm=segmenter.card.pixel_size_mm,
        spacing_mm=image.spacing_mm,
        naming=Naming(
            image.facts.name,
            lambda number: derive_uid("tracking", digest, sop_uid, str(number)),
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
