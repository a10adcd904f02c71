"""What came of a study that gave no result: who is told, and in which words."""

from __future__ import annotations

from collections.abc import Mapping

from oncopixel_pacs.domain import (
    Algorithm,
    ImageResult,
    Job,
    ObjectKind,
    Reason,
    Study,
    StudyResult,
)
from oncopixel_pacs.route import why_not
from oncopixel_pacs.settings import DestinationProfile

#: Kinds that can say that nothing was analysed.
_REPORTS = (ObjectKind.SR, ObjectKind.CAD_SR, ObjectKind.PDF)


def failed_result(
    job: Job, study: Study, algorithms: tuple[Algorithm, ...], device: str, sentence: str
) -> StudyResult:
    """Make the result of an analysis that failed for good.

    Parameters
    ----------
    algorithms, device
        What would have read the images.
    sentence
        Why it failed.
    """
    wanted = set(job.sop_instance_uids)
    held = [item.facts for item in study.instances if item.facts.sop_instance_uid in wanted]
    reasons = [why_not(facts) for facts in held]
    if all(reasons):  # then it was a study of pictures that the models could not read
        reasons = [None] * len(held)
    images = [
        ImageResult(
            facts,
            reason=reason or Reason.ANALYSIS_FAILED,
            reason_detail=sentence if reason is None else "",
        )
        for facts, reason in zip(held, reasons, strict=True)
    ]
    ordered = tuple(sorted(images, key=lambda item: item.facts.sop_instance_uid))
    return StudyResult(
        study_instance_uid=job.study_instance_uid,
        revision=job.revision,
        algorithms=algorithms,
        images=ordered,
        breasts={},
        probability=None,
        device=device or "none",
    )


def has_failed(result: StudyResult) -> bool:
    """Whether a result says that the analysis failed."""
    return any(item.reason is Reason.ANALYSIS_FAILED for item in result.images)


def supersedes(result: StudyResult) -> bool:
    """Whether a result takes the place of earlier ones of its study.

    One that says nothing replaces nothing, unless that is because its images were taken back, name
    different patients, or show an implant of which later images tell: what was read before should
    not have been.
    """
    if result.analysed:
        return True
    undone = (Reason.REJECTED, Reason.SEVERAL_PATIENTS, Reason.BREAST_IMPLANT)
    return not has_failed(result) and any(item.reason in undone for item in result.images)


def sentence_of(result: StudyResult) -> str:
    """Say why nothing of a study was analysed; empty when something was."""
    if result.analysed:
        return ""
    for item in result.images:
        if item.reason is Reason.ANALYSIS_FAILED:
            return item.reason_detail
    reasons = {item.reason.sentence for item in result.images if item.reason}
    return "No image could be analysed: " + " ".join(sorted(reasons))


def kinds_for(
    result: StudyResult, profiles: Mapping[str, DestinationProfile]
) -> dict[str, tuple[ObjectKind, ...]]:
    """Choose the kinds that each destination gets of a result, by its name."""
    return {name: _kinds(result, profile) for name, profile in profiles.items()}


def _kinds(result: StudyResult, profile: DestinationProfile) -> tuple[ObjectKind, ...]:
    if result.analysed:
        return profile.objects
    told = profile.report_failed if has_failed(result) else profile.report_not_analysed
    return tuple(kind for kind in profile.objects if kind in _REPORTS) if told else ()
