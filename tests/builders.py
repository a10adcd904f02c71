"""Builds domain values for tests; what a test does not name is ordinary."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from oncopixel_pacs.complete import Verdict, arrived, judge
from oncopixel_pacs.domain import (
    Algorithm,
    Delivery,
    DeliveryState,
    Finding,
    ImageFacts,
    ImageResult,
    Instance,
    Laterality,
    ModelTask,
    ObjectKind,
    Reason,
    ResultObject,
    Study,
    StudyResult,
    StudyState,
    View,
)
from oncopixel_pacs.settings import CompletionSettings

NOON = datetime(2025, 3, 1, 12, tzinfo=UTC)
STUDY_UID = "1.2.826.0.1.3680043.10.1"
FOR_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"

#: The four views of a screening study.
VIEWS = tuple((side, view) for view in (View.CC, View.MLO) for side in Laterality)


def later(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def make_clock(start: datetime = NOON) -> Callable[[], datetime]:
    """Make a clock that moves one second each time it is read."""
    moments = (start + timedelta(seconds=tick) for tick in range(10**6))
    return lambda: next(moments)


def make_facts(number: int = 1, *, study: str = STUDY_UID, **changes: Any) -> ImageFacts:
    """Make the facts of a readable mammogram; `number` picks its UID and its view."""
    side, view = VIEWS[(number - 1) % 4]
    facts = ImageFacts(
        sop_instance_uid=f"{study}.1.{number}",
        sop_class_uid=FOR_PRESENTATION,
        series_instance_uid=f"{study}.1",
        study_instance_uid=study,
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        modality="MG",
        presentation_intent="FOR PRESENTATION",
        laterality=side,
        view=view,
        view_modifiers=(),
        partial_view=False,
        implant=False,
        quality_control=False,
        rows=2294,
        columns=1914,
        frames=1,
        samples_per_pixel=1,
        photometric="MONOCHROME2",
        spacing_mm=(0.1, 0.1),
        has_pixel_data=True,
        manufacturer="ACME",
    )
    return replace(facts, **changes)


def make_instance(
    number: int = 1,
    *,
    study: str = STUDY_UID,
    content: str = "",
    received_at: datetime = NOON,
    **changes: Any,
) -> Instance:
    """Make a stored instance; other `content` gives another digest and path."""
    facts = make_facts(number, study=study, **changes)
    digest = hashlib.sha256(f"{facts.sop_instance_uid} {content}".encode()).hexdigest()
    return Instance(
        facts=facts,
        path=f"instances/{digest[:2]}/{digest[:32]}.dcm",
        digest=f"blake3:{digest}",
        size_bytes=4096,
        received_at=received_at,
        calling_ae_title="MODALITY",
    )


def make_study(*instances: Instance, **changes: Any) -> Study:
    """Make a study that still receives, with these instances (one when none is given)."""
    held = instances or (make_instance(),)
    times = [item.received_at for item in held]
    study = Study(
        study_instance_uid=held[0].facts.study_instance_uid,
        state=StudyState.RECEIVING,
        revision=0,
        instances=held,
        first_received_at=min(times),
        last_received_at=max(times),
    )
    return replace(study, **changes)


def judged(
    study: Study, since: datetime, now: datetime, settings: CompletionSettings, **more: Any
) -> Verdict:
    """Judge a study by what has arrived of it."""
    return judge(arrived(study, settings), since, now, settings, **more)


def make_algorithm(task: ModelTask = ModelTask.CLASSIFY, **changes: Any) -> Algorithm:
    """Make the description of a model."""
    algorithm = Algorithm(
        name=f"Test {task}",
        version="1.0",
        task=task,
        weights_sha256="a" * 64,
        preprocessing_sha256="b" * 64,
        threshold=0.5,
    )
    return replace(algorithm, **changes)


def make_finding(number: int = 1, **changes: Any) -> Finding:
    """Make a square finding of 10 mm."""
    finding = Finding(
        number=number,
        tracking_id=f"Lesion {number}",
        tracking_uid=f"2.25.{number}",
        probability=0.8,
        centre=(1000.0, 500.0),
        outline=((950, 450), (950, 550), (1050, 550), (1050, 450), (950, 450)),
        area_mm2=100.0,
        long_axis_mm=14.1,
        short_axis_mm=10.0,
    )
    return replace(finding, **changes)


def make_image_result(facts: ImageFacts, reason: Reason | None = None) -> ImageResult:
    """Make the result of one image: a score and one finding, or a reason for neither."""
    if reason is not None:
        return ImageResult(facts, reason=reason)
    return ImageResult(facts, probability=0.7, findings=(make_finding(),))


def make_result(
    facts: Sequence[ImageFacts] = (), *, revision: int = 1, reason: Reason | None = None
) -> StudyResult:
    """Make the result of a study; with `reason`, no image was analysed."""
    facts = facts or [make_facts()]
    images = tuple(make_image_result(item, reason) for item in facts)
    sides = {item.laterality for item in facts if item.laterality is not None}
    return StudyResult(
        study_instance_uid=facts[0].study_instance_uid,
        revision=revision,
        algorithms=(make_algorithm(), make_algorithm(ModelTask.SEGMENT)),
        images=images,
        breasts={} if reason else dict.fromkeys(sorted(sides), 0.7),
        probability=None if reason else 0.7,
        timings_seconds={"decode": 0.2, "classify": 0.1},
    )


def make_object(
    number: int = 1, kind: ObjectKind = ObjectKind.SEG, *, study: str = STUDY_UID
) -> ResultObject:
    """Make a stored result object."""
    uid = f"{study}.9.{number}"
    return ResultObject(
        kind=kind,
        sop_instance_uid=uid,
        sop_class_uid=SEG_CLASS if kind is ObjectKind.SEG else SR_CLASS,
        series_instance_uid=f"{study}.9",
        series_description="Research use only",
        path=f"results/aa/{number}.dcm",
        sha256=hashlib.sha256(uid.encode()).hexdigest(),
        size_bytes=2048,
    )


def make_delivery(
    item: ResultObject, state: DeliveryState = DeliveryState.ACCEPTED, **changes: Any
) -> Delivery:
    """Make what became of sending one result object to the PACS."""
    delivery = Delivery(
        destination="pacs",
        sop_instance_uid=item.sop_instance_uid,
        state=state,
        attempts=1,
        status="0x0000",
    )
    return replace(delivery, **changes)
