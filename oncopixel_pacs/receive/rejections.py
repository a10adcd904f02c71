"""Remembers who was not let in, in a thread of its own: a flood of strangers holds nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime

import structlog

from oncopixel_pacs.audit import AuditEvent, AuditKind, AuditOutcome, unaudited
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.receive.peers import Caller
from oncopixel_pacs.store.callers import Callers, RejectedCaller, RejectionKind

log = structlog.get_logger()

#: Kinds of callers that wait to be written; more than that are in the log alone.
MOST_PENDING = 256
#: Least time between two transactions.
PAUSE_SECONDS = 1.0
#: A caller that is turned away again within so long, and callers beyond so many in that time, are
#: counted but make no further audit record: strangers shall not fill the trail.
AUDIT_SECONDS, MOST_AUDITED = 60.0, 60
_AE_TITLE_CHARACTERS = 16


class RejectionRecorder:
    """Counts rejected callers and writes them to the database now and then.

    Parameters
    ----------
    audit
        Notes a rejected caller in the audit trail, as node authentication that failed.
    """

    def __init__(
        self,
        callers: Callers,
        now: Callable[[], datetime],
        audit: Callable[[AuditEvent], object] = unaudited,
    ) -> None:
        self._callers = callers
        self._now = now
        self._audit = audit
        self._audited: set[tuple[str, ...]] = set()
        self._audited_since: datetime | None = None
        self._lock = threading.Lock()
        self._pending: dict[tuple[str, ...], RejectedCaller] = {}
        self._wake = threading.Event()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rejections", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def stop(self) -> None:
        """Write what is pending, and end."""
        self._stopping.set()
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()

    def note(self, caller: Caller, called_ae_title: str, kind: RejectionKind, reason: str) -> None:
        """Remember one rejected request; returns at once."""
        now = self._now()
        item = RejectedCaller(
            _printable(caller.ae_title),
            _printable(called_ae_title),
            caller.address,
            _ascii(reason),
            now,
            now,
            kind=kind,
            certificate_sha256=caller.certificate_sha256,
        )
        with self._lock:
            self._join(item)
        self._wake.set()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._wake.wait()
            self._wake.clear()
            self._write()
            self._stopping.wait(PAUSE_SECONDS)
        self._write()

    def _write(self) -> None:
        with self._lock:
            batch, self._pending = list(self._pending.values()), {}
        if not batch:
            return
        try:
            self._callers.add(batch)
        except OutOfResources as exc:
            log.warning("association.rejections_unwritten", reason=exc.for_log)
            with self._lock:
                later, self._pending = list(self._pending.values()), {}
                for item in (*batch, *later):
                    self._join(item)
            self._wake.set()
            return
        for item in batch:
            if self._is_news(item):
                self._audit(_event(item))

    def _is_news(self, item: RejectedCaller) -> bool:
        """Whether no audit record of the last minute says the same."""
        since = self._audited_since
        if since is None or abs((item.last_at - since).total_seconds()) >= AUDIT_SECONDS:
            self._audited_since = item.last_at
            self._audited.clear()
        if item.key in self._audited or len(self._audited) >= MOST_AUDITED:
            return False
        self._audited.add(item.key)
        return True

    def _join(self, item: RejectedCaller) -> None:
        earlier = self._pending.get(item.key)
        if earlier is not None:
            self._pending[item.key] = earlier.joined(item)
        elif len(self._pending) < MOST_PENDING:
            self._pending[item.key] = item


def _event(item: RejectedCaller) -> AuditEvent:
    called = f"association to {item.called_ae_title} rejected"
    return AuditEvent(
        AuditKind.UNKNOWN_NODE,
        item.last_at,
        item.calling_ae_title,
        item.address,
        AuditOutcome.REFUSED,
        detail=f"{called}: {item.reason}; {item.count} in this moment",
    )


def _printable(ae_title: str) -> str:
    """Replace what PS3.5 6.2 forbids: an AE title comes from a stranger."""
    return _ascii(ae_title).strip()[:_AE_TITLE_CHARACTERS]


def _ascii(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text)
