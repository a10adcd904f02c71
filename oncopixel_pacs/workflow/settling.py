"""The watch: settles studies that are complete, makes deliveries go on, mends lost jobs."""

from __future__ import annotations

import hashlib
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.audit import AuditEvent, AuditKind, unaudited
from oncopixel_pacs.complete import Arrived, Verdict, arrived, judge
from oncopixel_pacs.domain import Job, JobState, Study
from oncopixel_pacs.errors import OncoPixelError
from oncopixel_pacs.settings import CompletionSettings, Settings
from oncopixel_pacs.store.associations import AssociationLeases
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.open_studies import OpenStudy
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.waits import Waits
from oncopixel_pacs.workflow.dispatch import Dispatcher
from oncopixel_pacs.workflow.engine import OUTDATED, WorkQueue
from oncopixel_pacs.workflow.notifying import LONGEST_WAIT_SECONDS
from oncopixel_pacs.workflow.takeover import Reaper

log = structlog.get_logger()

#: The engine gives a workflow up when it was started too often or cancelled by hand.
_GIVEN_UP = {"CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"}
#: A workflow ends in an error when disk or database were away for longer than its retries; an
#: outdated one was queued before an upgrade, with other steps.
_BEGIN_AGAIN = {"ERROR", OUTDATED}
_ENDED_WELL = "SUCCESS"
#: Part of the time from the last view to its analysis; each tick is one short query.
_TICK_SECONDS = 0.1
#: Where many studies wait a look takes longer; the more of the time is left to receiving.
_REST = 4
_LONGEST_TICK_SECONDS = 1.0
_DISPATCH_EVERY = 5  # ticks
_RECONCILE_EVERY = 600  # ticks


def job_id_for(study_instance_uid: str, revision: int, models_digest: str) -> str:
    """Id of the work on one revision of a study with these models."""
    text = f"{study_instance_uid}\x1f{revision}\x1f{models_digest}"
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def longest_wait(settings: Settings) -> timedelta:
    """Tell the longest wait between two attempts at anything."""
    delivery, pull = settings.delivery, settings.pull
    return timedelta(
        seconds=max(
            *(delivery.first_retry_seconds, delivery.max_retry_seconds),
            # Of a probe that is not heard of.
            2 * delivery.timeout_seconds,
            *(pull.first_retry_seconds, pull.max_retry_seconds),
            LONGEST_WAIT_SECONDS,
        )
    )


#: A study and how many revisions it has: its next one is what is waited for.
_Revision = tuple[str, int]


def _revision(study: OpenStudy) -> _Revision:
    return study.study_instance_uid, study.revision


@dataclass(frozen=True, slots=True)
class _Watched:
    """A revision that waits: since when by the clock that nobody can set, and what is there."""

    since: float
    mark: tuple[object, ...]
    arrived: Arrived


@dataclass(frozen=True)
class Settler:
    """Closes studies that are complete; any number of hosts may run one.

    `monotonic` is a clock in seconds that nobody can set: however wrong the other one was when
    an image came, a study waits no longer than the longest wait while one settler runs.
    """

    catalogue: Catalogue
    leases: AssociationLeases
    queue: WorkQueue
    settings: CompletionSettings
    models_digest: str
    now: Callable[[], datetime]
    monotonic: Callable[[], float] = time.monotonic
    audit: Callable[[AuditEvent], object] = unaudited
    _watched: dict[_Revision, _Watched] = field(default_factory=dict)

    def settle_complete(self) -> list[Job]:
        """Judge every open study once; returns the jobs that were queued."""
        studies = self.catalogue.receiving()
        self._look_at(studies)
        if not studies:
            return []
        open_until = self.leases.open_until()
        jobs: list[Job | None] = []
        waiting_for: dict[str, str] = {}
        for study in studies:
            verdict = self._judge(study, open_until)
            if verdict.complete:
                jobs.append(self._settle(study))
            elif verdict.waiting_for != study.waiting_for:
                waiting_for[study.study_instance_uid] = verdict.waiting_for
        self.catalogue.note_waiting(waiting_for)
        return [job for job in jobs if job is not None]

    def _look_at(self, studies: Sequence[OpenStudy]) -> None:
        """Read the images of those that changed since they were read; forget who is gone."""
        moment = self.monotonic()
        known = {key: found for key in map(_revision, studies) if (found := self._watched.get(key))}
        changed = {
            study.study_instance_uid: study
            for study in studies
            if (seen := known.get(_revision(study))) is None or seen.mark != study.mark
        }
        for read in self.catalogue.those(list(changed)):
            study = changed[read.study_instance_uid]
            key = _revision(study)
            since = known[key].since if key in known else moment
            known[key] = _Watched(since, study.mark, arrived(read, self.settings))
        self._watched.clear()
        self._watched.update(known)

    def _judge(self, study: OpenStudy, open_until: Mapping[str, datetime]) -> Verdict:
        seen = self._watched.get(_revision(study))
        if seen is None:  # it was deleted in the meantime
            return Verdict(False, study.waiting_for)
        return judge(
            seen.arrived,
            study.unsettled_since or study.last_received_at,
            self.now(),
            self.settings,
            open_until=open_until,
            watched_seconds=self.monotonic() - seen.since,
        )

    def _settle(self, waiting: OpenStudy) -> Job | None:
        (study,) = self.catalogue.those([waiting.study_instance_uid]) or (None,)
        # What came since it was judged may be waited for.
        if study is None or len(study.instances) != waiting.images:
            return None
        job = self.catalogue.settle(
            study,
            self.models_digest,
            job_id_for(study.study_instance_uid, study.revision + 1, self.models_digest),
            self.now(),
            lambda session, job, run: self.queue.enqueue_study(session, job.id, run),
        )
        if job is not None:
            log.info("study.settled", job_id=job.id, revision=job.revision)
            self._note_received(study)
        return job

    def _note_received(self, study: Study) -> None:
        """Note who sent the images of a revision, one record for each sender."""
        senders = Counter(item.calling_ae_title for item in study.instances)
        for sender, count in sorted(senders.items()):
            event = AuditEvent(
                AuditKind.RECEIVED,
                self.now(),
                sender,
                study_instance_uid=study.study_instance_uid,
                patient_id=study.header.patient_id,
                detail=f"{count} images, revision {study.revision + 1}",
                other=sender,
            )
            self.audit(event)


@dataclass(frozen=True)
class Reconciler:
    """Compares ledger and engine: no job may wait for work that the engine does not have.

    Nor may anything wait longer than the `longest_wait` of all settings.
    """

    database: Database
    ledger: Ledger
    outbox: Outbox
    queue: WorkQueue
    now: Callable[[], datetime]
    longest_wait: timedelta

    def reconcile(self) -> int:
        """Queue lost jobs again and fail those that the engine gave up; returns how many."""
        now = self.now()
        if ended := Waits(self.database).shorten(now + self.longest_wait, now):
            log.warning("waits.shortened", number=ended, reason="the clock was ahead")
        runs = dict(self.ledger.unfinished())
        # One look at all of them tells whom to look at closely: few, as a rule nobody.
        seen = self._of_runs(runs, self.queue.glance(runs))
        unfinished = self._suspects(runs, seen)
        if not unfinished:
            return 0
        before = self._engine_states(unfinished)
        # What finished in the meantime has nothing left in the engine, and is not lost.
        still = unfinished.items() & set(self.ledger.unfinished())
        suspects = self._suspects(dict(still), before)
        # Work that moved between the two looks is in somebody's hands.
        after = self._engine_states(suspects)
        lost = [job_id for job_id in suspects if after[job_id] == before[job_id]]
        for job_id in lost:
            self._mend(job_id, suspects[job_id], set(after[job_id].values()))
        return len(lost)

    def _suspects(
        self, runs: Mapping[str, int], seen: Mapping[str, Mapping[str, str]]
    ) -> dict[str, int]:
        """Those of which nobody seems to take care."""
        # What waits in the outbox is no business of the engine's.
        waiting = self.outbox.waiting_jobs()
        return {
            job_id: run
            for job_id, run in runs.items()
            if job_id not in waiting and _needs_mending(set(seen[job_id].values()))
        }

    def _engine_states(self, runs: Mapping[str, int]) -> dict[str, dict[str, str]]:
        return self._of_runs(runs, self.queue.states(list(runs)))

    @staticmethod
    def _of_runs(runs: Mapping[str, int], states: Mapping[str, str]) -> dict[str, dict[str, str]]:
        """State of every workflow of the latest run of each job, by its id."""
        found: dict[str, dict[str, str]] = {job_id: {} for job_id in runs}
        for key, state in states.items():
            job_id, run, *_ = key.split("-")
            if job_id in runs and run == str(runs[job_id]):
                found[job_id][key] = state
        return found

    def _mend(self, job_id: str, run: int, states: Collection[str]) -> None:
        if not states:
            with self.database.write() as session:
                self.queue.enqueue_study(session, job_id, run)
        elif not _GIVEN_UP.isdisjoint(states):
            self.ledger.finish(
                job_id,
                JobState.FAILED,
                self.now(),
                "The work was given up after repeated stops of the server; retry the job.",
            )
        else:
            self.ledger.restart(
                job_id, lambda session, job, again: self.queue.enqueue_study(session, job.id, again)
            )
        log.warning("job.mended", job_id=job_id, engine=sorted(states))


def _needs_mending(states: Collection[str]) -> bool:
    """Whether work of which the engine tells only this goes on by itself no more."""
    return not (_GIVEN_UP | _BEGIN_AGAIN).isdisjoint(states) or set(states) <= {_ENDED_WELL}


class Watch:
    """A thread that settles, dispatches, reconciles and takes over until it is stopped."""

    def __init__(
        self, settler: Settler, reconciler: Reconciler, dispatcher: Dispatcher, reaper: Reaper
    ) -> None:
        self._settler = settler
        self._reconciler = reconciler
        self._dispatcher = dispatcher
        self._reaper = reaper
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End, after the study at hand."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        ticks, pause = 0, _TICK_SECONDS
        while not self._stop.wait(pause):
            began = time.monotonic()
            if ticks % _RECONCILE_EVERY == 0:
                self._try(self._reconciler.reconcile)
            self._try(self._settler.settle_complete)
            if ticks % _DISPATCH_EVERY == 0:
                self._try(self._dispatcher.dispatch)
                self._try(self._reaper.reap)
            ticks += 1
            took = time.monotonic() - began
            pause = min(max(_TICK_SECONDS, _REST * took), _LONGEST_TICK_SECONDS)

    def _try(self, work: Callable[[], object]) -> None:
        """Keep one duty's trouble from the others."""
        try:
            work()
        except OncoPixelError as exc:
            log.error("watch.failed", error=exc.for_log)
        except Exception:
            # The watch must outlive any defect: without it every study waits for ever.
            log.exception("watch.defect")
