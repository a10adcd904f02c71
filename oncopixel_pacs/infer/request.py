"""What is to be read, and what every way of reading needs. No torch here."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from oncopixel_pacs.domain import ImageFacts, ImageResult, Reason, Skip
from oncopixel_pacs.domain.model_choice import RoutedImage
from oncopixel_pacs.domain.rules import Origin
from oncopixel_pacs.errors import AnalysisFailed

if TYPE_CHECKING:
    from oncopixel_pacs.infer.loaded_models import LoadedModels


@dataclass(frozen=True, slots=True)
class RequestedImage:
    """One image of the study: its facts, its file, how it came, and why to leave it out, if so."""

    facts: ImageFacts
    path: Path
    reason: Reason | None = None
    origin: Origin = Origin()

    @property
    def routed(self) -> RoutedImage:
        """The image as models are chosen by."""
        return RoutedImage(self.facts, self.origin, self.reason)


@dataclass(frozen=True, slots=True)
class AnalysisRequest:
    """What is to be read.

    Attributes
    ----------
    labels_dir
        Folder for the maps of the images; see `label_maps` and `probability_maps`.
    only
        Name of the one model that shall read; where empty, one of each task is chosen.
    """

    study_instance_uid: str
    revision: int
    images: tuple[RequestedImage, ...]
    labels_dir: Path
    only: str = ""


@dataclass(slots=True)
class Stopwatch:
    """Seconds spent per stage; several threads may work at one, and their times are added."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    _guard: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the time that is spent within to a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(name, time.perf_counter() - start)

    def add(self, name: str, seconds: float) -> None:
        """Add seconds to a stage."""
        with self._guard:
            self.seconds[name] += seconds


def unread(
    facts: ImageFacts, models: LoadedModels, reason: Reason, detail: str = ""
) -> ImageResult:
    """Give the result of an image that no model reads, each for the same reason."""
    skipped = tuple(Skip(item.name, item.task, reason, detail) for item in models.algorithms)
    return ImageResult(facts, reason=reason, reason_detail=detail, skipped=skipped)


def skips(image: RequestedImage, models: LoadedModels) -> Iterator[Skip]:
    """Yield the models to which the image is not given, or whose requirements it does not meet."""
    for model in models.models:
        refused = model.candidate.why_not(image.routed)
        if refused is not None:
            yield Skip(model.algorithm.name, model.algorithm.task, *refused)


def read_by_none(
    facts: ImageFacts, models: LoadedModels, skipped: tuple[Skip, ...]
) -> ImageResult | None:
    """Give the result of an image that every model leaves out; ``None`` when one reads it."""
    if len(skipped) < len(models.algorithms):
        return None
    first = skipped[0]
    return ImageResult(facts, reason=first.reason, reason_detail=first.detail, skipped=skipped)


def require_same_image(found: ImageFacts, facts: ImageFacts) -> None:
    """Refuse, for good, a file that holds another image than the one it was kept for."""
    if found.sop_instance_uid != facts.sop_instance_uid:
        raise AnalysisFailed(
            f"The file kept for image {facts.sop_instance_uid} holds another image; "
            "send the image again.",
            permanent=True,
        )


def require_file(image: RequestedImage) -> None:
    """Tell a file that cannot be opened now from an image that cannot be decoded at all."""
    try:
        image.path.open("rb").close()
    except OSError as exc:
        raise AnalysisFailed(
            f"The file of image {image.facts.sop_instance_uid} cannot be opened ({exc.strerror}); "
            "check the data directory, and send the image again if it is gone."
        ) from exc
