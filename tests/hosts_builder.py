"""Several hosts in processes of their own, the network between them, and a counting archive."""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pynetdicom import AE, evt
from pynetdicom.presentation import AllStoragePresentationContexts

from oncopixel_pacs.receive.guards.state_machine import use_ending_state_machine

ROOT = Path(__file__).parents[1]


class CuttableLink:
    """A loopback port that passes everything on to another, until it is cut.

    Cut, it passes nothing and closes nothing: as a cable that was pulled.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self._passing = threading.Event()
        self._passing.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Pull the cable."""
        self._passing.clear()

    def mend(self) -> None:
        """Put it back; what waited goes on."""
        self._passing.set()

    def close(self) -> None:
        """End every connection."""
        self._passing.set()
        self._listener.close()
        for each in self._open:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                try:
                    far = socket.create_connection(("127.0.0.1", self._target))
                except OSError:  # nobody is there; the caller hears of it
                    near.close()
                    continue
                self._open += [near, far]
                for source, sink in ((near, far), (far, near)):
                    threading.Thread(target=self._pass, args=(source, sink), daemon=True).start()

    def _pass(self, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                self._passing.wait()
                sink.sendall(data)
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)


@dataclass
class CountingArchive:
    """Takes everything by C-STORE and counts how often each object came, and with which bytes.

    `answers`, cleared, keeps it from answering.
    """

    came: Counter[str] = field(default_factory=Counter)
    digests: dict[str, set[str]] = field(default_factory=dict)
    answers: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    def __post_init__(self) -> None:
        """Begin with answers."""
        self.answers.set()

    def store(self, event: Any) -> int:
        """Count an object."""
        uid = str(event.request.AffectedSOPInstanceUID)
        self.came[uid] += 1
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        self.digests.setdefault(uid, set()).add(digest)
        self.answers.wait(60)
        return 0x0000

    @property
    def twice(self) -> list[str]:
        """What came more than once."""
        return [uid for uid, number in self.came.items() if number > 1]


@contextmanager
def counting_archive() -> Iterator[CountingArchive]:
    """Run one."""
    archive = CountingArchive()
    ae = AE("ARCHIVE")
    ae.supported_contexts = AllStoragePresentationContexts
    ae.supported_contexts = [
        item
        for item in ae.supported_contexts
        if str(item.abstract_syntax).startswith("1.2.840.10008.5.1.4.1.1.")
    ]
    server = ae.start_server(
        ("127.0.0.1", 0),
        block=False,
        evt_handlers=[
            (evt.EVT_CONN_OPEN, use_ending_state_machine),
            (evt.EVT_C_STORE, archive.store),
        ],
    )
    assert server is not None
    archive.port = int(server.socket.getsockname()[1])
    try:
        yield archive
    finally:
        archive.answers.set()
        server.shutdown()
        ae.shutdown()


@dataclass
class Host:
    """One process with some roles, as `tests.worker_process` runs it."""

    name: str
    folder: Path
    database_url: str
    archive_port: int
    study_seconds: float
    takeover_seconds: float = 3.0
    roles: tuple[str, ...] = ("work",)
    extra: str = ""
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start, without waiting."""
        config = self.folder / f"{self.name}.toml"
        config.write_text(
            f"""executor = "{self.name}"
data_dir = "data"
database_url = "{self.database_url}"
takeover_seconds = {self.takeover_seconds}
dimse_port = 0
http_port = 0
log_format = "json"
stop_seconds = 180
{self.extra}
[completion]
quiet_seconds = 0.0
settle_seconds = 0.0
[delivery]
first_retry_seconds = 0.2
max_retry_seconds = 1.0
[results]
validators = "off"
[[destinations]]
name = "archive"
type = "cstore"
host = "127.0.0.1"
port = {self.archive_port}
ae_title = "ARCHIVE"
""",
            encoding="utf-8",
        )
        arguments = [str(config), str(self.study_seconds), *self.roles]
        with (self.folder / f"{self.name}.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "tests.worker_process", *arguments],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def log(self) -> str:
        """What it said."""
        return (self.folder / f"{self.name}.log").read_text(encoding="utf-8", errors="replace")

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self, grace_seconds: float = 195.0) -> None:
        """End it, whatever state it is in."""
        if self.process is None:
            return
        process, self.process = self.process, None
        with suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        try:
            process.wait(grace_seconds)
        finally:
            process.kill()
            process.wait()
