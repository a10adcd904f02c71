"""Works on pulls, one at a time: asks the source, fetches what is not held, and counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from oncopixel_pacs.domain.pulls import Pull, PullState
from oncopixel_pacs.errors import OncoPixelError, OutOfResources, PullFailed
from oncopixel_pacs.receive import pull as sources
from oncopixel_pacs.receive.contexts import STORAGE_SOP_CLASSES
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.pull.remote import Fetch, Remote
from oncopixel_pacs.settings import Settings, SourceSettings
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.free_space import FreeSpace
from oncopixel_pacs.store.ledger import Ledger
from oncopixel_pacs.store.pulls import Pulls

log = structlog.get_logger()

#: How often the table is looked at.
POLL_SECONDS = 0.5
#: After so long without a word from its worker, a pull is taken up by another.
LEASE = timedelta(seconds=60)
_KEEP_SECONDS = 10.0


@dataclass(frozen=True)
class PullParts:
    """What a puller reads from and writes to."""

    pulls: Pulls
    catalogue: Catalogue
    ledger: Ledger
    intake: Intake
    settings: Settings
    now: Callable[[], datetime]


class Puller:
    """A thread that works on pulls until it is stopped; any number of hosts may run one.

    A pull that was under way when its process ended is taken up again: by the same host at its
    next start, by another once the lease has run out. What came already is not fetched twice.
    """

    def __init__(self, parts: PullParts) -> None:
        self._parts = parts
        self._worker = parts.settings.executor
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pull", daemon=True)

    def start(self) -> None:
        """Begin with what an earlier process of this host left."""
        released = self._parts.pulls.release(self._worker)
        if released:
            log.info("pull.resumed", number=released)
        self._thread.start()

    def stop(self, grace_seconds: float = 15.0) -> None:
        """End; a pull under way goes on at the next start."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join(grace_seconds)

    def _run(self) -> None:
        while not self._stop.wait(POLL_SECONDS):
            try:
                while not self._stop.is_set() and self.work_once():
                    pass
            except OncoPixelError as exc:
                log.error("pull.away", error=exc.for_log)
            except Exception:
                # The thread must outlive any defect: without it every pull waits for ever.
                log.exception("pull.defect")

    def work_once(self) -> bool:
        """Work on one pull that is due; returns whether there was one."""
        parts = self._parts
        pull = parts.pulls.claim(self._worker, parts.now(), LEASE)
        if pull is None:
            return False
        ended = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(pull, ended), daemon=True)
        keeper.start()
        try:
            self._attempt(pull)
        finally:
            ended.set()
            keeper.join()
        return True

    def _keep(self, pull: Pull, ended: threading.Event) -> None:
        while not ended.wait(_KEEP_SECONDS):
            try:
                self._parts.pulls.keep(pull.id, self._worker, self._parts.now(), LEASE)
            except OutOfResources as exc:
                log.warning("pull.lease_unwritten", reason=exc.for_log)

    def _attempt(self, pull: Pull) -> None:
        parts = self._parts
        try:
            self._fetch(pull)
        except PullFailed as exc:
            self._failed(pull, str(exc), exc.permanent)
        except OncoPixelError as exc:
            self._failed(pull, str(exc), permanent=False)
        except Exception as exc:
            log.exception("pull.defect", pull_id=pull.id)
            error = f"Unexpected {type(exc).__name__}; the server's log has the trace."
            self._failed(pull, error, permanent=True)
        else:
            parts.pulls.finish(pull.id, self._worker, PullState.DONE, parts.now())
            log.info("pull.done", pull_id=pull.id, source=pull.source)

    def _fetch(self, pull: Pull) -> None:
        parts = self._parts
        source = self._source(pull)
        work = Fetch(
            parts.intake,
            FreeSpace(parts.intake.incoming, parts.settings.receive.least_free_bytes),
            parts.settings.ae_title,
            parts.settings.pull.timeout_seconds,
            parts.settings.tls,
            lambda _number: None,
            self._stop,
        )
        found = sources.find(source, pull.study_instance_uid, work)
        expected = tuple(item for item in found if self._is_wanted(item))
        if not expected:
            what = "holds no image of it that is taken here" if found else "does not have it"
            raise PullFailed(
                f"{source.name} {what}; check the Study Instance UID and the source.",
                permanent=True,
            )
        missing = self._missing(expected)
        held = len(expected) - len(missing)
        self._note(pull, len(expected), held)
        if missing:
            telling = replace(
                work, arrived=lambda number: self._note(pull, len(expected), held + number)
            )
            try:
                sources.fetch(source, pull.study_instance_uid, missing, telling)
            finally:
                # Whatever the source said: what counts is what is held.
                missing = self._missing(expected)
                self._note(pull, len(expected), len(expected) - len(missing))
        if missing:
            raise PullFailed(
                f"{source.name} did not send {len(missing)} of {len(expected)} objects, though "
                "it named no error; see its log.",
                permanent=False,
            )
        self._require_in_study(pull, expected)
        # It is all that the source has, and someone waits for it.
        parts.catalogue.mark_complete(pull.study_instance_uid, parts.now())

    def _require_in_study(self, pull: Pull, expected: tuple[Remote, ...]) -> None:
        """Refuse to call a study complete whose objects are held as those of another one."""
        held = self._parts.catalogue.holdings([item.sop_instance_uid for item in expected])
        studies = [item.study_instance_uid for item in held.values()]
        others = [uid for uid in studies if uid != pull.study_instance_uid]
        if others:
            raise PullFailed(
                f"{len(others)} of {len(expected)} objects are held here as images of study "
                f"{others[0]}, and stay there: {pull.source} gave them another Study Instance UID "
                "without SOP Instance UIDs of their own.",
                permanent=True,
            )

    def _failed(self, pull: Pull, error: str, permanent: bool) -> None:
        parts = self._parts
        if self._stop.is_set():
            parts.pulls.release(self._worker)
            return
        limits = parts.settings.pull
        now = parts.now()
        if not permanent and pull.attempts < limits.attempts:
            wait = min(
                limits.first_retry_seconds * 2.0 ** (pull.attempts - 1), limits.max_retry_seconds
            )
            parts.pulls.put_off(pull.id, self._worker, error, now + timedelta(seconds=wait))
            log.warning("pull.put_off", pull_id=pull.id, source=pull.source, error=error)
            return
        state = PullState.PARTIAL if parts.pulls.pull(pull.id).received else PullState.FAILED
        parts.pulls.finish(pull.id, self._worker, state, now, error)
        log.error("pull.failed", pull_id=pull.id, source=pull.source, error=error)

    def _source(self, pull: Pull) -> SourceSettings:
        named = {item.name: item for item in self._parts.settings.sources}
        if pull.source not in named:
            raise PullFailed(
                f"Source {pull.source} is not configured on this host; add it to [[sources]].",
                permanent=True,
            )
        return named[pull.source]

    def _is_wanted(self, item: Remote) -> bool:
        taken = {*STORAGE_SOP_CLASSES, *self._parts.settings.receive.further_sop_classes}
        if item.sop_class_uid and item.sop_class_uid not in taken:
            return False
        # What we made ourselves is no image of the study.
        return self._parts.ledger.stored_object(item.sop_instance_uid) is None

    def _missing(self, expected: tuple[Remote, ...]) -> tuple[Remote, ...]:
        held = self._parts.catalogue.holdings([item.sop_instance_uid for item in expected])
        return tuple(item for item in expected if item.sop_instance_uid not in held)

    def _note(self, pull: Pull, expected: int, received: int) -> None:
        self._parts.pulls.note(pull.id, self._worker, expected, received)
