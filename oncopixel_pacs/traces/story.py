"""What the ledger knows of a job, told as the spans of one trace.

Nothing is measured here: a study passes several processes and outlives their restarts, and the
ledger has the times of them all.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import groupby

from oncopixel_pacs.domain import (
    Delivery,
    DeliveryState,
    Job,
    JobState,
    ModelTask,
    Step,
    StepName,
    StepState,
)
from oncopixel_pacs.domain.spans import Arrival, Moment, Span, SpanKind, Value

ROOT = "study"
PROOF = "proof"
#: Objects that are told one by one; a trace with more says their number alone.
MOST_MOMENTS = 256
_TAKEN = (DeliveryState.ACCEPTED, DeliveryState.CONFIRMED)
#: Parts of steps that people know by another name.
_PART_NAMES = {"validate": "gate"}


def trace_id_of(job: Job) -> int:
    """Derive the trace of a study's revision: 128 bits that tell nothing of the study."""
    text = f"{job.study_instance_uid}\x1f{job.revision}"
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:16]) or 1


def span_id_of(trace_id: int, key: str) -> int:
    """Derive the id of a span: 64 bits, the same whichever process tells it."""
    digest = hashlib.sha256(f"{trace_id:032x}\x1f{key}".encode()).digest()
    return int.from_bytes(digest[:8]) or 1


def is_sampled(trace_id: int, ratio: float) -> bool:
    """Whether a trace is among the share that is told, as OpenTelemetry's sampler decides."""
    return trace_id & (2**64 - 1) < round(ratio * 2**64)


def is_proof_awaited(job: Job) -> bool:
    """Whether a destination is still to be asked for what it accepted."""
    return any(
        item.state is DeliveryState.ACCEPTED and item.ask_at is not None for item in job.deliveries
    )


def spans_of(
    job: Job, arrivals: Sequence[Arrival], told_until: datetime | None = None
) -> tuple[Span, ...]:
    """Tell a job that ended, the whole first.

    Parameters
    ----------
    arrivals
        The objects that this revision added.
    told_until
        Up to when an earlier trace of this job told: what ended before is left out, and what is
        new becomes a part of that trace.
    """
    parts = list(_parts(job, arrivals))
    root, above = ROOT, ""
    if told_until is not None:
        root, above = f"{ROOT} {told_until.isoformat()}", ROOT
        parts = _told_anew(parts, told_until, root)
    ended = job.finished_at or job.created_at
    whole = Span(
        key=root,
        name="study again" if above else ROOT,
        parent=above,
        start=min([span.start for span in parts], default=ended),
        end=max([ended, *(span.end for span in parts)]),
        attributes={
            "oncopixel.job.id": job.id,
            "oncopixel.job.state": job.state.value,
            "oncopixel.revision": job.revision,
            "oncopixel.images": len(job.sop_instance_uids),
        },
        failed=job.state is JobState.FAILED,
    )
    return (whole, *parts)


def _told_anew(parts: Sequence[Span], told_until: datetime, root: str) -> list[Span]:
    """Keep what went on after an earlier trace, under ids of its own."""
    mark = f" {told_until.isoformat()}"
    kept = [span for span in parts if span.end > told_until]
    keys = {span.key for span in kept}
    return [
        replace(
            span,
            key=span.key + mark,
            parent=span.parent + mark if span.parent in keys else root,
            start=max(span.start, told_until),
        )
        for span in kept
    ]


def _parts(job: Job, arrivals: Sequence[Arrival], root: str = ROOT) -> Iterator[Span]:
    ordered = sorted(arrivals, key=lambda item: (item.sender, _began(item), item.received_at))
    for _, items in groupby(ordered, lambda item: (item.sender, item.association_at)):
        yield _reception(tuple(items), root)
    if arrivals:
        last = max(item.received_at for item in arrivals)
        yield _span("wait for completeness", root, last, job.created_at)
    for step in job.steps:
        if step.name is StepName.ANALYSE:
            yield _span("wait in queue", root, job.created_at, step.started_at)
        if step.finished_at is not None:
            yield from _step(job, step, step.finished_at, root)
    deliver = next((item for item in job.steps if item.name is StepName.DELIVER), None)
    above = root if deliver is None else _key(StepName.DELIVER, deliver.started_at)
    for sent in _by_destination(job):
        delivery = _delivery(sent, above)
        yield delivery
        proof = _proof(sent, delivery.key)
        if proof is not None:
            yield proof


def _reception(items: Sequence[Arrival], root: str) -> Span:
    first = items[0]
    association = first.association_at is not None
    each = tuple(
        Moment(
            "object received",
            item.received_at,
            {"dicom.sop_class_uid": item.sop_class_uid, "oncopixel.bytes": item.size_bytes},
        )
        for item in items[:MOST_MOMENTS]
    )
    return _span(
        "association" if association else "transfer",
        root,
        _began(first),
        items[-1].received_at,
        kind=SpanKind.SERVER,
        attributes={
            "oncopixel.sender": first.sender,
            "oncopixel.objects": len(items),
            "oncopixel.bytes": sum(item.size_bytes for item in items),
        },
        moments=each,
        distinct=first.sender,
    )


def _step(job: Job, step: Step, finished_at: datetime, root: str) -> Iterator[Span]:
    whole = _span(
        step.name.value,
        root,
        step.started_at,
        finished_at,
        attributes={"oncopixel.attempts": step.attempts},
        failed=step.state is StepState.FAILED,
    )
    yield whole
    # Only how long each part took is known: they are told one after the other.
    models = {} if job.result is None else {item.task: item for item in job.result.algorithms}
    begin = step.started_at
    for part, seconds in step.detail.items():
        end = min(begin + timedelta(seconds=seconds), finished_at)
        attributes: dict[str, Value] = {"oncopixel.seconds": seconds}
        model = models.get(ModelTask(part)) if part in set(ModelTask) else None
        if model is not None and job.result is not None:
            attributes |= {"oncopixel.model": model.name, "oncopixel.model.version": model.version}
            attributes |= {"oncopixel.device": job.result.device}
        name = _PART_NAMES.get(part, part)
        yield _span(name, whole.key, begin, end, attributes=attributes, distinct=part)
        begin = end


def _by_destination(job: Job) -> Iterator[tuple[Delivery, ...]]:
    """Deliveries of each destination; not those that an earlier revision made."""
    own = (
        item
        for item in job.deliveries
        if item.queued_at is not None
        and (item.finished_at is None or item.finished_at >= job.created_at)
    )
    by_name = sorted(own, key=lambda item: (item.destination, item.sop_instance_uid))
    for _, items in groupby(by_name, lambda item: item.destination):
        yield tuple(items)


def _delivery(sent: Sequence[Delivery], above: str) -> Span:
    start = min(item.queued_at for item in sent if item.queued_at is not None)
    ends = [item.finished_at for item in sent if item.finished_at is not None]
    kinds = tuple(
        Moment(
            "object taken" if item.state in _TAKEN else "object not taken",
            item.finished_at,
            {"oncopixel.attempts": item.attempts, "oncopixel.status": item.status},
        )
        for item in sent[:MOST_MOMENTS]
        if item.finished_at is not None
    )
    name = sent[0].destination
    return _span(
        "delivery",
        above,
        start,
        max(ends, default=start),
        kind=SpanKind.CLIENT,
        attributes={
            "oncopixel.destination": name,
            "oncopixel.objects": len(sent),
            "oncopixel.objects.taken": sum(item.state in _TAKEN for item in sent),
            "oncopixel.attempts": max(item.attempts for item in sent),
        },
        moments=kinds,
        failed=any(item.state is DeliveryState.FAILED for item in sent),
        distinct=name,
    )


def _proof(sent: Sequence[Delivery], above: str) -> Span | None:
    found = [item for item in sent if item.confirmed_at is not None and item.finished_at]
    if not found:
        return None
    name = sent[0].destination
    return _span(
        PROOF,
        above,
        min(item.finished_at for item in found if item.finished_at is not None),
        max(item.confirmed_at for item in found if item.confirmed_at is not None),
        kind=SpanKind.CLIENT,
        attributes={
            "oncopixel.destination": name,
            "oncopixel.objects.confirmed": len(found),
            "oncopixel.proof": ", ".join(sorted({item.proof for item in found})),
            "oncopixel.asked": max(item.asked for item in found),
        },
        distinct=name,
    )


def _span(
    name: str,
    parent: str,
    start: datetime,
    end: datetime,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    attributes: dict[str, Value] | None = None,
    moments: tuple[Moment, ...] = (),
    failed: bool = False,
    distinct: str = "",
) -> Span:
    """Make a span; it never ends before it begins, whatever the clocks of two hosts say."""
    key = _key(name, start, distinct)
    return Span(key, name, parent, start, max(start, end), kind, attributes or {}, moments, failed)


def _key(name: str, start: datetime, distinct: str = "") -> str:
    return f"{name} {distinct} {start.isoformat()}"


def _began(item: Arrival) -> datetime:
    return item.association_at or item.received_at
