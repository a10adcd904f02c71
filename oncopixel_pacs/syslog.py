"""Audit messages to a repository: syslog (RFC 5424) over TLS (RFC 5425), nothing left out."""

from __future__ import annotations

import os
import socket
import ssl
import threading
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime

import structlog

from oncopixel_pacs.audit import AuditEvent, AuditKind
from oncopixel_pacs.errors import OncoPixelError
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.settings.audit import AuditSettings
from oncopixel_pacs.store.audit_trail import AuditRecord, AuditTrail

log = structlog.get_logger()

#: Facility 10 (security), severity 5 (notice): PS3.15 A.6.1.
PRIORITY = 10 * 8 + 5
MESSAGE_ID = "DICOM+RFC3881"
_TIMEOUT_SECONDS = 10.0
_PAUSE_SECONDS = 1.0
_LONGEST_PAUSE = 60.0


def frame(record: AuditRecord, host: str) -> bytes:
    """Write a record as a syslog message in the framing of RFC 5425 section 4.3."""
    at = record.at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
    head = f"<{PRIORITY}>1 {at} {host} OncoPixel {os.getpid()} {MESSAGE_ID} - "
    # The mark says that UTF-8 follows (RFC 5424 section 6.4).
    body = head.encode("ascii") + b"\xef\xbb\xbf" + record.message.encode()
    return str(len(body)).encode() + b" " + body


class SyslogForwarder:
    """A thread that sends what the repository does not have yet, in order.

    Where it stands is kept in the database; after a failure it waits, twice as long each time,
    and goes on with the first record that was not sent. A record may come twice, never not at all.
    """

    def __init__(self, trail: AuditTrail, settings: AuditSettings) -> None:
        self._trail = trail
        self._address = (settings.syslog_host, settings.syslog_port)
        self._receiver = settings.receiver
        self._ca_file = settings.syslog_ca_file
        self._host = socket.gethostname().encode("ascii", "replace").decode()[:255] or "-"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="syslog", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; what is unsent goes at the next start."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        pause = _PAUSE_SECONDS
        while not self._stop.is_set():
            try:
                self._send_all()
                pause = _PAUSE_SECONDS
            except (OSError, OncoPixelError) as exc:
                log.warning("audit.unsent", receiver=self._receiver, error=type(exc).__name__)
                pause = min(pause * 2, _LONGEST_PAUSE)
            self._stop.wait(pause)

    def _send_all(self) -> None:
        waiting = self._trail.unsent(self._receiver)
        if not waiting:
            return
        with (
            socket.create_connection(self._address, _TIMEOUT_SECONDS) as plain,
            self._context().wrap_socket(plain, server_hostname=self._address[0]) as secure,
        ):
            while waiting and not self._stop.is_set():
                for record in waiting:
                    secure.sendall(frame(record, self._host))
                # close_notify of the other side would show here: then nothing counts as sent.
                secure.settimeout(0.0)
                try:
                    if secure.recv(1) == b"":
                        raise ConnectionResetError("closed by the repository")
                except (ssl.SSLWantReadError, BlockingIOError):
                    pass
                secure.settimeout(_TIMEOUT_SECONDS)
                self._trail.note_sent(self._receiver, waiting[-1].id)
                waiting = self._trail.unsent(self._receiver)

    def _context(self) -> ssl.SSLContext:
        # Read anew for each connection, so that a renewed file counts.
        context = ssl.create_default_context(cafile=self._ca_file)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        return context


def begin_audit(
    trail: AuditTrail,
    settings: Settings,
    now: Callable[[], datetime],
    closing: ExitStack,
    forwards: bool,
) -> None:
    """Note the start, and the stop as the last thing; send what the repository lacks.

    Parameters
    ----------
    closing
        What is done at the stop.
    forwards
        Whether this process is the one that sends.
    """
    title = settings.ae_title
    trail.append(AuditEvent(AuditKind.START, now(), title))
    closing.callback(lambda: trail.append_if_possible(AuditEvent(AuditKind.STOP, now(), title)))
    if settings.audit.syslog_host and forwards:
        forwarder = SyslogForwarder(trail, settings.audit)
        forwarder.start()
        closing.callback(forwarder.stop)
