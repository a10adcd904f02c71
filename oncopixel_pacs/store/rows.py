"""Rows to domain values and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError

from oncopixel_pacs.domain import (
    Delivery,
    DeliveryState,
    ImageFacts,
    Instance,
    Job,
    JobState,
    ObjectKind,
    ResultObject,
    SegmentationForm,
    Step,
    StepName,
    StepState,
    Study,
    StudyHeader,
    StudyResult,
    StudyState,
)
from oncopixel_pacs.store.tables import (
    DeliveryRow,
    InstanceRow,
    JobRow,
    ObjectRow,
    StepRow,
    StudyRow,
)

_FACTS = TypeAdapter(ImageFacts)
_HEADER = TypeAdapter(StudyHeader)
_RESULT = TypeAdapter(StudyResult)
_STEP_ORDER = {name: position for position, name in enumerate(StepName)}


def dump_facts(facts: ImageFacts) -> dict[str, Any]:
    """Facts as plain JSON values."""
    values: dict[str, Any] = _FACTS.dump_python(facts, mode="json")
    return values


def write_facts(facts: ImageFacts) -> str:
    """Facts as JSON text; what it says is what `dump_facts` gives."""
    try:
        return _FACTS.dump_json(facts).decode()
    except PydanticSerializationError:  # half a character, from a text in the wrong character set
        return json.dumps(dump_facts(facts))


def dump_header(header: StudyHeader) -> dict[str, Any]:
    """Study header as plain JSON values."""
    values: dict[str, Any] = _HEADER.dump_python(header, mode="json")
    return values


def to_header(values: dict[str, Any]) -> StudyHeader:
    """Study header of plain JSON values."""
    return _HEADER.validate_python(values)


def study_keys(header: StudyHeader) -> dict[str, Any]:
    """Columns that a study is searched by; names and words are casefolded, as PS3.4 allows."""
    keys = {
        "patient_name": header.patient_name.casefold(),
        "patient_id": header.patient_id,
        "accession_number": header.accession_number,
        "study_date": header.study_date,
        "study_time": header.study_time,
        "study_id": header.study_id,
        "study_description": header.description.casefold(),
        "referring_physician_name": header.referring_physician_name.casefold(),
    }
    # PostgreSQL takes no NUL in a text; the header beside it is JSON and keeps it.
    return {name: value.replace("\0", "") for name, value in keys.items()}


def name_study(row: StudyRow, header: StudyHeader) -> None:
    """Keep in the row of a study what it is called from now on."""
    row.header = dump_header(header)
    for column, value in study_keys(header).items():
        setattr(row, column, value)


def dump_result(result: StudyResult) -> dict[str, Any]:
    """Give a result as plain JSON values."""
    values: dict[str, Any] = _RESULT.dump_python(result, mode="json")
    return values


def to_instance(row: InstanceRow) -> Instance:
    """Instance of a row."""
    return Instance(
        facts=_FACTS.validate_python(row.facts),
        path=row.path,
        digest=row.digest,
        size_bytes=row.size_bytes,
        received_at=row.received_at,
        calling_ae_title=row.calling_ae_title,
        called_ae_title=row.called_ae_title,
        association_at=row.association_at,
    )


def to_study(row: StudyRow, instances: Iterable[InstanceRow]) -> Study:
    """Study of a row and its instances, sorted by SOP Instance UID."""
    ordered = sorted(instances, key=lambda item: item.sop_instance_uid)
    return Study(
        study_instance_uid=row.study_instance_uid,
        state=StudyState(row.state),
        revision=row.revision,
        instances=tuple(to_instance(item) for item in ordered),
        first_received_at=row.first_received_at,
        last_received_at=row.last_received_at,
        waiting_for=row.waiting_for if row.state == StudyState.RECEIVING else "",
        conflicts=row.conflicts,
        declared_complete=row.completed_at is not None,
        header=to_header(row.header),
    )


def to_step(row: StepRow) -> Step:
    """Step of a row."""
    return Step(
        name=StepName(row.name),
        state=StepState(row.state),
        attempts=row.attempts,
        started_at=row.started_at,
        finished_at=row.finished_at,
        error=row.error,
        detail=dict(row.detail),
    )


def to_object(row: ObjectRow) -> ResultObject:
    """Make the result object of a row."""
    return ResultObject(
        kind=ObjectKind(row.kind),
        sop_instance_uid=row.sop_instance_uid,
        sop_class_uid=row.sop_class_uid,
        series_instance_uid=row.series_instance_uid,
        series_description=row.series_description,
        path=row.path,
        sha256=row.sha256,
        size_bytes=row.size_bytes,
        form=None if row.form is None else SegmentationForm(row.form),
    )


def to_delivery(row: DeliveryRow) -> Delivery:
    """Delivery of a row."""
    return Delivery(
        destination=row.destination,
        sop_instance_uid=row.sop_instance_uid,
        state=DeliveryState(row.state),
        attempts=row.attempts,
        status=row.status,
        error=row.error,
        queued_at=row.queued_at,
        next_attempt_at=row.next_attempt_at,
        finished_at=row.finished_at,
        retracted_by=row.retracted_by,
        proof=row.proof,
        confirmed_at=row.confirmed_at,
        unconfirmed_at=row.unconfirmed_at,
        resends=row.resends,
        ask_at=row.ask_at,
        asked=row.asked,
    )


def to_job(
    row: JobRow,
    steps: Iterable[StepRow] = (),
    objects: Iterable[ObjectRow] = (),
    deliveries: Iterable[DeliveryRow] = (),
    resting: Mapping[str, datetime] | None = None,
    superseded: Iterable[str] = (),
) -> Job:
    """Job of a row and what hangs on it; `resting` as `waiting_for` has it."""
    sent = tuple(
        to_delivery(item)
        for item in sorted(deliveries, key=lambda item: (item.destination, item.sop_instance_uid))
    )
    return Job(
        id=row.id,
        study_instance_uid=row.study_instance_uid,
        revision=row.revision,
        models_digest=row.models_digest,
        state=JobState(row.state),
        sop_instance_uids=tuple(row.sop_instance_uids),
        created_at=row.created_at,
        finished_at=row.finished_at,
        waiting_for=waiting_for(JobState(row.state), row.error, sent, resting or {}),
        error=row.error,
        steps=tuple(
            to_step(item) for item in sorted(steps, key=lambda i: _STEP_ORDER[StepName(i.name)])
        ),
        result=None if row.result is None else _RESULT.validate_python(row.result),
        objects=tuple(to_object(item) for item in objects),
        deliveries=sent,
        written=row.written,
        repairs=tuple(row.repairs or ()),
        superseded=frozenset(superseded),
    )


def waiting_for(
    state: JobState,
    error: str,
    deliveries: Iterable[Delivery],
    resting: Mapping[str, datetime],
) -> str:
    """Say in words what a job waits for; empty when it is running or finished, or `error` says.

    Parameters
    ----------
    resting
        When each destination that rests is tried next, by whichever job.
    """
    if state is JobState.QUEUED:
        return "" if error else "a free model process"
    if state is not JobState.DELIVERING:
        return ""
    open_at: dict[str, list[datetime]] = {}
    for item in deliveries:
        if item.state in (DeliveryState.QUEUED, DeliveryState.SENDING):
            due = open_at.setdefault(item.destination, [])
            if item.next_attempt_at is not None:
                due.append(item.next_attempt_at)
    return "; ".join(_place(name, due, resting.get(name)) for name, due in open_at.items())


def _place(name: str, due: list[datetime], tried_at: datetime | None) -> str:
    if not due:
        return f"destination {name}"
    if tried_at is not None:
        return f"destination {name}, which rests and is tried again {tried_at:%H:%M:%S} UTC"
    return f"destination {name}, next attempt {min(due):%H:%M:%S} UTC"
