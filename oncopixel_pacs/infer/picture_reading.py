"""Reading one study of pictures that are no mammograms: classes, and kinds of tissue."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from oncopixel_pacs import __version__
from oncopixel_pacs.domain import (
    ClassScore,
    ImageFacts,
    ImageResult,
    ModelTask,
    PictureAnswer,
    Tissue,
)
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.errors import AnalysisFailed, UnreadableImage
from oncopixel_pacs.imaging.geometry import Geometry
from oncopixel_pacs.imaging.mammogram import Decoder
from oncopixel_pacs.imaging.picture import Picture, read_picture
from oncopixel_pacs.infer.cards import models_digest
from oncopixel_pacs.infer.label_maps import remove_label_map, write_label_map
from oncopixel_pacs.infer.probability_maps import write_probability_map
from oncopixel_pacs.infer.request import (
    RequestedImage,
    Stopwatch,
    read_by_none,
    require_file,
    require_same_image,
    skips,
    unread,
)

if TYPE_CHECKING:
    from oncopixel_pacs.infer.loaded_models import LoadedModel, LoadedModels


def read_pictures(
    images: Sequence[RequestedImage],
    labels_dir: Path,
    models: LoadedModels,
    watch: Stopwatch,
    decoder: Decoder,
) -> tuple[ImageResult, ...]:
    """Read every picture of a study, one after the other, by one model of each task.

    Parameters
    ----------
    labels_dir
        Folder for label maps and probability maps.
    models
        Those of pictures that were chosen for the study.

    Raises
    ------
    AnalysisFailed
        When a file is not the image it should be, or a model gives no usable answer.
    """
    digest = models_digest(models.algorithms, __version__)
    return tuple(_read(image, labels_dir, models, watch, decoder, digest) for image in images)


def _read(
    image: RequestedImage,
    labels_dir: Path,
    models: LoadedModels,
    watch: Stopwatch,
    decoder: Decoder,
    digest: str,
) -> ImageResult:
    facts = image.facts
    skipped = tuple(skips(image, models))
    if (unseen := read_by_none(facts, models, skipped)) is not None:
        return unseen
    require_file(image)
    try:
        with watch.stage("decode"):
            picture = read_picture(image.path, decoder)
    except UnreadableImage as exc:
        return unread(facts, models, exc.reason, exc.detail)
    require_same_image(picture.facts, facts)
    left_out = {item.task for item in skipped}
    reading = [item for item in models.models if item.algorithm.task not in left_out]
    classes: tuple[ClassScore, ...] = ()
    tissues: tuple[Tissue, ...] = ()
    called, searched = "", False
    for model in reading:
        with watch.stage("prepare"):
            prepared = _prepared(model, picture)
        if model.algorithm.task is ModelTask.CLASSIFY:
            with watch.stage("classify"):
                classes, called = classify(model, prepared)
        else:
            with watch.stage("segment"):
                searched, tissues = True, _segment(model, prepared, facts, labels_dir, digest)
    answer = PictureAnswer(classes, called, tissues, searched, reading[0].card.site)
    return ImageResult(facts, skipped=skipped, picture=answer)


def _prepared(model: LoadedModel, picture: Picture) -> NDArray[np.float32]:
    reader = model.card.reader
    assert reader is not None  # noqa: S101 - only models of pictures are chosen
    return reader.prepare(picture.pixels)


def classify(
    model: LoadedModel, prepared: NDArray[np.float32]
) -> tuple[tuple[ClassScore, ...], str]:
    """Ask a classifier for the calibrated probability of each class, and which one it calls.

    Of two classes the second is called at or above the operating point, which holds for the
    network's own probability; of more, the most probable one.

    Parameters
    ----------
    prepared
        ``(channels, height, width)``.
    """
    raw = model.class_probabilities(prepared[None])
    calibrated = model.card.calibrator(raw.astype(np.float64))[0]
    if len(model.card.classes) == 2:
        call = int(raw[0, 1] >= model.algorithm.threshold)
    else:
        call = int(raw[0].argmax())
    scores = tuple(
        ClassScore(item.name, item.concept, float(np.clip(share, 0.0, 1.0)), item.absence)
        for item, share in zip(model.card.classes, calibrated, strict=True)
    )
    return scores, scores[call].name


def _segment(
    model: LoadedModel,
    prepared: NDArray[np.float32],
    facts: ImageFacts,
    labels_dir: Path,
    digest: str,
) -> tuple[Tissue, ...]:
    probability = model.class_probabilities(prepared[None])[0]
    shape = (int(probability.shape[1]), int(probability.shape[2]))
    geometry = Geometry(
        stored_shape=(facts.rows, facts.columns),
        crop=(0, 0, facts.rows, facts.columns),
        mirrored=False,
        content_shape=shape,
        model_shape=shape,
    )
    stored = geometry.labels_to_stored(_winner(model, probability))
    tissues: list[Tissue] = []
    labels = np.zeros_like(stored)
    for channel, pixels in _found(model, stored):
        number = len(tissues) + 1
        labels[stored == channel] = number
        item = model.card.classes[channel]
        area = (
            None if facts.spacing_mm is None else pixels * facts.spacing_mm[0] * facts.spacing_mm[1]
        )
        uid = derive_uid("tracking", digest, *facts.content_key, item.name)
        tissues.append(Tissue(number, item.name, item.concept, uid, pixels / stored.size, area))
    _keep(labels_dir, facts.sop_instance_uid, labels, probability.max(axis=0), geometry)
    return tuple(tissues)


def _winner(model: LoadedModel, probability: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Class of each pixel; of two the second at or above the operating point."""
    if len(model.card.classes) == 2:
        return np.asarray(probability[1] >= model.algorithm.threshold, dtype=np.uint8)
    return np.asarray(probability.argmax(axis=0), dtype=np.uint8)


def _found(model: LoadedModel, stored: NDArray[np.uint8]) -> Iterator[tuple[int, int]]:
    """Channels that are no background and have pixels, with how many."""
    counts = np.bincount(stored.ravel(), minlength=len(model.card.classes))
    for channel, item in enumerate(model.card.classes):
        if counts[channel] and not item.absence:
            yield channel, int(counts[channel])


def _keep(
    labels_dir: Path,
    sop_uid: str,
    labels: NDArray[np.uint8],
    probability: NDArray[np.float32],
    geometry: Geometry,
) -> None:
    everywhere = np.ones(probability.shape, dtype=np.bool_)
    try:
        write_probability_map(labels_dir, sop_uid, probability, everywhere, geometry)
        if labels.any():
            write_label_map(labels_dir, sop_uid, labels)
        else:
            remove_label_map(labels_dir, sop_uid)
    except OSError as exc:
        raise AnalysisFailed(
            f"The maps of image {sop_uid} cannot be written ({exc.strerror}); "
            "check space and rights in the data directory."
        ) from exc
