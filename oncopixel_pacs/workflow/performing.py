"""Performs the workitems of worklists: claims, waits for the study and its job, and tells (beta).

No thread waits. Each workitem is a row that is looked at when it is due, by whichever host is
first. Its Transaction UID is committed before the claim is sent, so that a claim whose answer got
lost, with the connection or with the process, is asked after and never made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.deliver.worklist import (
    CANCELED,
    COMPLETED,
    IN_PROGRESS,
    SCHEDULED,
    STATE,
    NoWork,
    Worklist,
    one,
    study_of,
)
from oncopixel_pacs.domain import Job, Study, StudyState
from oncopixel_pacs.domain.pulls import PullState
from oncopixel_pacs.domain.workitems import Workitem, WorkitemState
from oncopixel_pacs.errors import DeliveryFailed, NotFound
from oncopixel_pacs.settings.worklist import WorklistSettings
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.pulls import Pulls
from oncopixel_pacs.store.workitems import Workitems
from oncopixel_pacs.workflow.backoff import wait_seconds
from oncopixel_pacs.workflow.performed_step import (
    INCOMPLETE,
    Discontinued,
    Station,
    canceled,
    claimed,
    completed,
    why_not,
)
from oncopixel_pacs.workflow.repeated import Repeated

log = structlog.get_logger()

TIMEOUT_SECONDS = 15.0
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 5.0, 300.0
#: Should a host die at a workitem, another goes on with it after this.
LEASE = timedelta(seconds=8 * TIMEOUT_SECONDS)
_TICK_SECONDS = 1.0
#: A refusal may be a proxy's, or of a service that is being set up: only the last one counts.
_TRIES = 5
#: What PS3.18 11.6.3 and 11.7.3 have for one who is not the owner; 410 where it is gone.
_NOT_OURS = frozenset({"400", "409", "410"})
#: What is left alone may become one for us, such as when its input gets ready.
_LOOK_AGAIN = timedelta(seconds=60)
_MOST_READ = 100
_ENDS: Mapping[str, WorkitemState] = {
    COMPLETED: WorkitemState.COMPLETED,
    CANCELED: WorkitemState.CANCELED,
}

#: Opens the connection to a worklist.
Open = Callable[[WorklistSettings], AbstractContextManager[Worklist]]


@dataclass(frozen=True)
class Work:
    """What a performer reads from and writes to."""

    workitems: Workitems
    catalogue: Catalogue
    ledger: Ledger
    pulls: Pulls
    open: Open
    now: Callable[[], datetime]


@dataclass
class _Search:
    """When a worklist is searched again; why and until when workitems of it are left alone."""

    due: datetime
    failures: int = 0
    left: dict[str, tuple[str, datetime]] = field(default_factory=dict)


@dataclass(frozen=True)
class TaskPerformer:
    """Performs what worklists hold; any number of hosts may run one.

    Attributes
    ----------
    stations
        As whom we perform, by worklist.
    """

    work: Work
    worklists: Sequence[WorklistSettings]
    stations: Mapping[str, Station]
    _searches: dict[str, _Search] = field(default_factory=dict)

    def perform(self, stopping: Callable[[], bool] = lambda: False) -> int:
        """Do what is due now; returns how many workitems were looked at."""
        for worklist in self.worklists:
            if not stopping():
                self._search(worklist)
        named = {item.name: item for item in self.worklists}
        seen = 0
        while not stopping():
            now = self.work.now()
            taken = self.work.workitems.take(tuple(named), now, now + LEASE)
            if taken is None:
                break
            after = self._go_on(named[taken.worklist], taken)
            if self.work.workitems.record(taken, after) and after.state is not taken.state:
                _tell(after)
            seen += 1
        return seen

    # --- search ---------------------------------------------------------------------------------

    def _search(self, worklist: WorklistSettings) -> None:
        now = self.work.now()
        search = self._searches.setdefault(worklist.name, _Search(now))
        # The clock may have been put back meanwhile.
        if now < search.due <= now + timedelta(seconds=2 * worklist.poll_seconds + 600):
            return
        try:
            with self.work.open(worklist) as connection:
                self._take_up(connection, search)
        except DeliveryFailed as exc:
            search.failures += 1
            wait = wait_seconds(search.failures, worklist.poll_seconds, LONGEST_WAIT_SECONDS)
            search.due = self.work.now() + timedelta(seconds=max(wait, worklist.poll_seconds))
            log.warning("worklist.away", worklist=worklist.name, error=exc.for_log)
        else:
            search.failures = 0
            search.due = self.work.now() + timedelta(seconds=worklist.poll_seconds)

    def _take_up(self, connection: Worklist, search: _Search) -> None:
        worklist, now = connection.settings, self.work.now()
        uids = connection.scheduled()
        known = self.work.workitems.known(worklist.name, uids)
        search.left = {uid: search.left[uid] for uid in uids if uid in search.left}
        fresh = [uid for uid in uids if uid not in known and not _is_left(search, uid, now)]
        for uid in fresh[:_MOST_READ]:
            try:
                study = study_of(connection.read(uid), worklist)
            except NoWork as exc:
                _leave(search, worklist, uid, str(exc), now)
                continue
            except DeliveryFailed as exc:
                # It is about this workitem, not about the service.
                if not (exc.permanent or exc.status.startswith("2")):
                    raise
                _leave(search, worklist, uid, str(exc), now)
                continue
            if not self.work.workitems.add(worklist.name, uid, study, worklist.at_a_time, now):
                break

    # --- one workitem ---------------------------------------------------------------------------

    def _go_on(self, worklist: WorklistSettings, item: Workitem) -> Workitem:
        try:
            if item.state is WorkitemState.CLAIMING:
                with self.work.open(worklist) as connection:
                    return self._claim(connection, item)
            return self._perform(worklist, item)
        except DeliveryFailed as exc:
            log.warning(
                "workitem.failed",
                worklist=worklist.name,
                workitem_uid=item.workitem_uid,
                error=exc.for_log,
            )
            if exc.permanent and item.attempts >= _TRIES:
                claiming = item.state is WorkitemState.CLAIMING
                state = WorkitemState.LEFT if claiming else WorkitemState.STUCK
                return self._ended(item, state, str(exc))
            wait = wait_seconds(item.attempts, FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS)
            again = self.work.now() + timedelta(seconds=wait)
            return replace(item, error=str(exc), next_attempt_at=again)

    def _claim(self, connection: Worklist, item: Workitem) -> Workitem:
        state = one(connection.read(item.workitem_uid), STATE)
        # Only an earlier attempt can have claimed it.
        perhaps_ours = item.attempts > 1
        if state == SCHEDULED:
            try:
                connection.change_state(item.workitem_uid, item.transaction_uid, IN_PROGRESS)
            except DeliveryFailed as exc:
                if exc.status not in _NOT_OURS:
                    raise
            else:
                return self._claimed(item)
        if state in (SCHEDULED, IN_PROGRESS) and perhaps_ours and _is_ours(connection, item):
            return self._claimed(item)
        return self._ended(item, WorkitemState.LEFT, "Somebody else has it.")

    def _claimed(self, item: Workitem) -> Workitem:
        now = self.work.now()
        return replace(
            item,
            state=WorkitemState.CLAIMED,
            claimed_at=now,
            attempts=0,
            error="",
            next_attempt_at=now,
        )

    def _perform(self, worklist: WorklistSettings, item: Workitem) -> Workitem:
        job = self._ended_job(item)
        why = why_not(job) if job is not None else self._missing(worklist, item)
        if isinstance(why, str):
            again = self.work.now() + timedelta(seconds=worklist.poll_seconds)
            return replace(item, pull_id=why, attempts=0, error="", next_attempt_at=again)
        with self.work.open(worklist) as connection:
            return self._end(connection, item, job, why)

    def _end(
        self, connection: Worklist, item: Workitem, job: Job | None, why: Discontinued | None
    ) -> Workitem:
        """Tell what was done, then that it is; both may have arrived before, and may again."""
        uid, ours = item.workitem_uid, item.transaction_uid
        found = connection.read(uid)
        state = one(found, STATE)
        if state not in _ENDS:
            now = self.work.now()
            if job is not None and why is None:
                station = self.stations[item.worklist]
                changes = completed(job, found, station, item.claimed_at or now)
                state = COMPLETED
            else:
                changes = canceled(why or Discontinued("", INCOMPLETE), now)
                state = CANCELED
            connection.update(uid, ours, changes)
            connection.change_state(uid, ours, state)
        return self._ended(item, _ENDS[state], "" if why is None else why.words)

    def _ended(self, item: Workitem, state: WorkitemState, error: str) -> Workitem:
        now = self.work.now()
        return replace(item, state=state, error=error, next_attempt_at=None, ended_at=now)

    # --- its study ------------------------------------------------------------------------------

    def _ended_job(self, item: Workitem) -> Job | None:
        """Find the job of the study's newest images, when it has ended."""
        study = item.study_instance_uid
        if self._pull_state(item) in (PullState.QUEUED, PullState.RUNNING, PullState.PARTIAL):
            return None
        try:
            if self.work.catalogue.study(study).state is not StudyState.SETTLED:
                return None
        except NotFound:
            return None
        job = self.work.ledger.latest_jobs([study]).get(study)
        return job if job is not None and job.state.final else None

    def _missing(self, worklist: WorklistSettings, item: Workitem) -> str | Discontinued:
        """Say why there is no result and will be none, or the pull that may bring the study."""
        state = self._pull_state(item)
        if state is PullState.PARTIAL:
            said = self.work.pulls.pull(item.pull_id).error
            return Discontinued(f"Not every object of the study could be had. {said}", INCOMPLETE)
        study = self._held(item)
        empty = study is not None and not study.images and study.state is StudyState.SETTLED
        if state in (PullState.QUEUED, PullState.RUNNING) or (study is not None and not empty):
            return item.pull_id
        if empty and state is PullState.DONE:
            return Discontinued("The study holds no image.", INCOMPLETE)
        if state is PullState.FAILED:
            said = self.work.pulls.pull(item.pull_id).error
            return Discontinued(f"The study could not be had. {said}", INCOMPLETE)
        now = self.work.now()
        if worklist.source is not None:
            return self.work.pulls.add(item.study_instance_uid, worklist.source, now).id
        if now - (item.claimed_at or now) < timedelta(seconds=worklist.wait_seconds):
            return ""
        return Discontinued("The study did not arrive here.", INCOMPLETE)

    def _pull_state(self, item: Workitem) -> PullState | None:
        try:
            return self.work.pulls.pull(item.pull_id).state if item.pull_id else None
        except NotFound:
            return None

    def _held(self, item: Workitem) -> Study | None:
        try:
            return self.work.catalogue.study(item.study_instance_uid)
        except NotFound:
            return None


def _is_left(search: _Search, uid: str, now: datetime) -> bool:
    _, until = search.left.get(uid, ("", now))
    return now < until <= now + _LOOK_AGAIN


def _leave(search: _Search, worklist: WorklistSettings, uid: str, why: str, now: datetime) -> None:
    """Leave a workitem alone for a while, and say once why."""
    said, _ = search.left.get(uid, ("", now))
    search.left[uid] = (why, now + _LOOK_AGAIN)
    if said != why:
        log.warning("workitem.left_alone", worklist=worklist.name, workitem_uid=uid, reason=why)


def _is_ours(connection: Worklist, item: Workitem) -> bool:
    """Ask whether a claim without an answer arrived: only the owner may change a workitem."""
    try:
        connection.update(item.workitem_uid, item.transaction_uid, claimed())
    except DeliveryFailed as exc:
        if exc.status not in _NOT_OURS:
            raise
        return False
    return True


def _tell(item: Workitem) -> None:
    named = {"worklist": item.worklist, "workitem_uid": item.workitem_uid}
    if item.state is WorkitemState.STUCK:
        # Its error is the worklist's answer; that of others may be a job's, which may quote.
        log.error("workitem.stuck", **named, error=item.error)
        return
    study = item.study_instance_uid
    log.info("workitem.moved", **named, study_instance_uid=study, state=item.state.value)


def performing(performer: TaskPerformer) -> Repeated:
    """Make the thread that performs workitems."""
    return Repeated("worklists", performer.perform, _TICK_SECONDS)
