"""Which of the configured models read a study, and which of its images: one pure function.

A study is read as mammograms or as pictures: by the models of that subject of which the first,
in the order of the configuration, fits an image. Of each task one of these reads it, so that
its results name one: the first whose rule and requirements fit an image of it. Where none fits,
the first of the task stands for it and says why. A shadow model reads beside them: it stands before
none, and none before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from oncopixel_pacs.domain.algorithms import ModelMode, ModelTask, Subject
from oncopixel_pacs.domain.facts import ImageFacts
from oncopixel_pacs.domain.reasons import Reason
from oncopixel_pacs.domain.requirements import Requirements
from oncopixel_pacs.domain.rules import Origin, Rule


@dataclass(frozen=True, slots=True)
class Candidate:
    """A configured model: what the site's rule gives it, and what it asks of images itself."""

    name: str
    task: ModelTask
    rule: Rule = Rule()
    requirements: Requirements = Requirements()
    subject: Subject = Subject.BREAST
    mode: ModelMode = ModelMode.ACTIVE

    def why_not(self, image: RoutedImage) -> tuple[Reason, str] | None:
        """Return the reason why the model does not read an image, with detail.

        ``None`` when it reads it, as far as the header tells.
        """
        reason = image.reason
        if self.subject is not Subject.BREAST and reason is not Reason.SEVERAL_PATIENTS:
            reason = _no_picture(image.facts)
        if reason is not None:
            return reason, ""
        if objection := self.rule.objection(image.facts, image.origin):
            return Reason.MODEL_RULE, objection
        return self.requirements.why_not(image.facts)


@dataclass(frozen=True, slots=True)
class RoutedImage:
    """An image, how it came, and the reason why no model of mammograms reads it, if any."""

    facts: ImageFacts
    origin: Origin = Origin()
    reason: Reason | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one model reads one image; `reason` is ``None`` when it does."""

    model: str
    task: ModelTask
    reason: Reason | None = None
    detail: str = ""
    mode: ModelMode = ModelMode.ACTIVE

    @property
    def sentence(self) -> str:
        """Why it does not read it; empty when it does."""
        return "" if self.reason is None else f"{self.reason.sentence} {self.detail}".strip()


def choose(images: Sequence[RoutedImage], candidates: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Choose the model of each task that reads a study, in the order of the configuration."""
    fits = (item for item in candidates if any(item.why_not(image) is None for image in images))
    first = next(fits, None) or next(iter(candidates), None)
    chosen: dict[ModelTask, Candidate] = {}
    for task in ModelTask:
        able = [
            item
            for item in candidates
            if first and (item.task, item.subject) == (task, first.subject)
        ]
        if able:
            fitting = (
                item for item in able if any(item.why_not(image) is None for image in images)
            )
            chosen[task] = next(fitting, able[0])
    return tuple(item for item in candidates if chosen.get(item.task) is item)


def _no_picture(facts: ImageFacts) -> Reason | None:
    """Return the reason why an image is no single picture."""
    if not facts.has_pixel_data:
        return Reason.NO_PIXEL_DATA
    if facts.frames > 1:
        return Reason.MULTI_FRAME
    return Reason.QUALITY_CONTROL if facts.quality_control else None


def verdicts(
    images: Sequence[RoutedImage], candidates: Sequence[Candidate]
) -> tuple[tuple[Verdict, ...], ...]:
    """Say of every image of a study, in their order, which model reads it and why not."""
    chosen = choose(images, [item for item in candidates if item.mode is ModelMode.ACTIVE])
    return tuple(tuple(_verdict(image, item, chosen) for item in candidates) for image in images)


def _verdict(image: RoutedImage, candidate: Candidate, chosen: Sequence[Candidate]) -> Verdict:
    reason, detail = candidate.why_not(image) or (None, "")
    if reason is None and candidate.mode is ModelMode.ACTIVE and candidate not in chosen:
        others = [item.name for item in chosen if item.task is candidate.task]
        before = ", ".join(others or (item.name for item in chosen))
        reason, detail = Reason.ANOTHER_MODEL, f"{before} stands before it."
    return Verdict(candidate.name, candidate.task, reason, detail, candidate.mode)
