"""A database as it is after months of work: 100,000 studies, jobs, and all that hangs on them."""

from __future__ import annotations

import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import sqlalchemy as sa  # noqa: E402
from api_builders import JOB, finish  # noqa: E402
from builders import NOON, STUDY_UID, later, make_algorithm, make_image_result  # noqa: E402
from conftest import Store  # noqa: E402

from oncopixel_pacs.audit import AuditEvent, AuditKind  # noqa: E402
from oncopixel_pacs.domain import DeliveryState, JobState, ModelTask  # noqa: E402
from oncopixel_pacs.store.audit_trail import AuditTrail  # noqa: E402
from oncopixel_pacs.store.feedback import Opinion, ReaderFeedback  # noqa: E402
from oncopixel_pacs.store.pulls import Pulls  # noqa: E402
from oncopixel_pacs.store.shadows import Answered, Shadows  # noqa: E402
from oncopixel_pacs.store.tables import StudyRow  # noqa: E402
from oncopixel_pacs.store.webhooks import Webhooks  # noqa: E402

#: Studies whose rows are written in one statement for each table.
BATCH = 1000
#: In the order in which rows refer to each other, and how many studies have one.
EVERY = {
    "study": 1,
    "instance": 1,
    "job": 1,
    "reading": 1,
    "step": 1,
    "result_object": 1,
    "job_object": 1,
    "delivery": 1,
    "shadow_result": 1,
    "feedback": 2,
    "audit_record": 1,
    "webhook_call": 1,
    "pull": 10,
}
DAYS = 90
STATES = [JobState.DONE] * 95 + [JobState.FAILED] * 3 + [JobState.NOT_ANALYSED] * 2
SENDERS = [f"MAMMO{number}" for number in range(1, 6)]
#: So many of the newest jobs are at work.
AT_WORK = 40
#: So many of the newest studies have deliveries that are not confirmed.
NOT_CONFIRMED = 500
_SHADOW = ("lesions-next", "2.0", ModelTask.SEGMENT)


def is_full(store: Store, jobs: int) -> bool:
    """Whether a database that is used again holds so many jobs."""
    with store.database.engine.connect() as connection:
        held = connection.execute(sa.text("SELECT count(*) FROM job")).scalar_one()
    return bool(held >= jobs)


def fill(store: Store, jobs: int, seed: int = 1) -> None:
    """Copy the rows of one finished study so many times, each with ids and times of its own."""
    _finish_one(store)
    tables = StudyRow.metadata.tables
    copier = _Copier(jobs, random.Random(seed))  # noqa: S311
    with store.database.engine.begin() as connection:
        model = {
            name: [dict(row) for row in connection.execute(sa.select(tables[name])).mappings()]
            for name in EVERY
        }
    for begin in range(1, jobs, BATCH):
        numbers = range(begin, min(begin + BATCH, jobs))
        copies = [copier.copies(model, number) for number in numbers]
        # One transaction each: what is counted along the way is counted in one row.
        with store.database.engine.begin() as connection:
            for name in EVERY:
                rows = [row for copy in copies for row in copy.get(name, ())]
                connection.execute(sa.insert(tables[name]), rows)
    with store.database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql(
            "ANALYZE" if store.database.engine.dialect.name == "sqlite" else "VACUUM ANALYZE"
        )


def _finish_one(store: Store) -> None:
    """Bring one study through everything, so that each table has a row that the server wrote."""
    finish(store)
    job = store.ledger.job(JOB)
    if job.result is None:
        raise RuntimeError("the study has no result")
    shadows = Shadows(store.database)
    named = (_SHADOW[0], _SHADOW[1], str(_SHADOW[2]))
    shadows.claim("e" * 64, named, later(70), since=NOON, lease=timedelta(minutes=5))
    shadow = replace(
        job.result,
        algorithms=(make_algorithm(_SHADOW[2]),),
        images=tuple(make_image_result(item.facts) for item in job.result.images),
    )
    shadows.keep(JOB, "e" * 64, Answered(shadow, job.result, True, True), later(80))
    finding = next(iter(job.result.findings))[1]
    ReaderFeedback(store.database).say(job, finding.tracking_uid, "dr", Opinion.ACCEPT, later(90))
    event = AuditEvent(
        AuditKind.VIEW,
        later(91),
        "dr",
        study_instance_uid=STUDY_UID,
        detail=f"/studies/{STUDY_UID}",
    )
    AuditTrail(store.database, "ONCOPIXEL").append(event)
    webhooks = Webhooks(store.database)
    webhooks.note_ended("ris", later(0))
    webhooks.note_ended("ris", later(68))
    Pulls(store.database).add(STUDY_UID, "pacs", later(0))


@dataclass(frozen=True)
class _Copier:
    jobs: int
    draw: random.Random

    def copies(
        self, model: dict[str, list[dict[str, Any]]], number: int
    ) -> dict[str, list[dict[str, Any]]]:
        """Rows of one more study, by table."""
        study, job_id = f"{STUDY_UID}.{number}", f"{number:024x}"
        shift = timedelta(seconds=DAYS * 86400 * (number / self.jobs - 1))
        drawn = dict(self._drawn(number, NOON + shift))
        found: dict[str, list[dict[str, Any]]] = {}
        for name, rows in model.items():
            unread = name == "reading" and drawn["job"]["probability"] is None
            if number % EVERY[name] or unread:
                continue
            found[name] = [
                {
                    **{key: _changed(value, study, job_id, shift) for key, value in row.items()},
                    **drawn.get(name, {}),
                }
                for row in rows
            ]
        if not JobState(drawn["job"]["state"]).final:
            found["job"][0]["finished_at"] = None
        for row in found["instance"]:
            row["path"] = f"instances/{number}/{row['sop_instance_uid']}"
        for row in found.get("feedback", ()):
            row["id"] = f"{row['tracking_uid']}\x1f{row['reader']}"
        return found

    def _drawn(self, number: int, at: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
        draw = self.draw
        busy = number >= self.jobs - AT_WORK
        state = JobState.QUEUED if busy else draw.choice(STATES)
        odd = number >= self.jobs - NOT_CONFIRMED
        sent = draw.choice(list(DeliveryState)) if odd else DeliveryState.CONFIRMED
        score, called = draw.random(), draw.random() < 0.1
        yield (
            "study",
            {
                "patient_id": f"P-{number:06}",
                "accession_number": f"A-{number:06}",
                "study_date": f"{at:%Y%m%d}",
            },
        )
        sender = draw.choice(SENDERS)
        yield "instance", {"calling_ae_title": sender}
        read = state not in (JobState.NOT_ANALYSED, JobState.QUEUED)
        yield "job", {"state": state, "probability": score if read else None}
        yield "reading", {"sender": sender, "probability": score}
        yield "delivery", {"state": sent}
        active = called if draw.random() < 0.95 else not called
        yield "shadow_result", {"called": called, "active_called": active, "active_score": score}
        opinion = Opinion.REJECT if draw.random() < 0.1 else Opinion.ACCEPT
        yield "feedback", {"tracking_uid": f"2.25.{10**9 + number}", "opinion": opinion}
        yield "audit_record", {"id": number + 1}
        yield "webhook_call", {"id": f"msg_{number:032x}"}
        yield "pull", {"id": f"pull{number:020x}", "state": "done", "finished_at": at}


def _changed(value: Any, study: str, job_id: str, shift: timedelta) -> Any:
    if isinstance(value, str):
        return value.replace(STUDY_UID, study).replace(JOB, job_id)
    if isinstance(value, list):
        return [_changed(item, study, job_id, shift) for item in value]
    if isinstance(value, dict):
        return {key: _changed(item, study, job_id, shift) for key, item in value.items()}
    return value + shift if isinstance(value, datetime) else value
