"""A real server in a process of its own, as an admin would start it."""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from tests.free_ports import free_port as free_port

Found = TypeVar("Found")

#: dcmtk's: pynetdicom puts a program of the same name beside this interpreter.
STORESCU = shutil.which("storescu", path="/usr/local/bin:/usr/bin:/bin") or "storescu"

#: For clients of plain HTTP. Without it each reads the certificates of every authority there is,
#: which takes more than a question and its answer.
NO_AUTHORITIES = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def wait_until(
    condition: Callable[[], Found], seconds: float, what: str, interval: float = 0.1
) -> Found:
    """Wait for a condition to hold and return what it gave; fail with `what` otherwise."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {seconds:.0f} s")
        time.sleep(interval)
    return found


#: Disks of busy machines keep a commit waiting for longer than anyone would think.
STOP_SECONDS = 180


@dataclass
class ServerProcess:
    """``oncopixel serve`` below a folder; killed and started as often as a test likes."""

    folder: Path
    destinations: str = ""
    completion: str = "settle_seconds = 0.5\nquiet_seconds = 5.0"
    extra: str = ""
    roles: tuple[str, ...] = ()
    dimse_port: int = field(default_factory=free_port)
    http_port: int = field(default_factory=free_port)
    _process: subprocess.Popen[bytes] | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.config.write_text(
            f"""data_dir = "data"
dimse_port = {self.dimse_port}
http_port = {self.http_port}
stop_seconds = {STOP_SECONDS}
{self.extra}
[receive]
least_free_bytes = 0
[completion]
{self.completion}
[delivery]
first_retry_seconds = 0.5
max_retry_seconds = 2.0
{self.destinations}
""",
            encoding="utf-8",
        )

    @property
    def config(self) -> Path:
        return self.folder / "oncopixel.toml"

    @property
    def data_dir(self) -> Path:
        return self.folder / "data"

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    @property
    def address(self) -> str:
        return f"ONCOPIXEL@127.0.0.1:{self.dimse_port}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    @property
    def log(self) -> str:
        return (self.folder / "server.log").read_text(encoding="utf-8", errors="replace")

    @property
    def _arguments(self) -> list[str]:
        roles = (option for role in self.roles for option in ("--role", role))
        return ["serve", "--config", str(self.config), *roles]

    def _begin(self) -> None:
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "oncopixel_pacs", *self._arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    @property
    def _is_over(self) -> bool:
        assert self._process is not None
        return self._process.poll() is not None

    def start(self, *, ready: bool = True) -> None:
        self._begin()
        wait_until(self.listening, 90, f"the server does not listen:\n{self.log[-2000:]}")
        if ready:
            wait_until(self.ready, 120, f"the server is not ready:\n{self.log[-2000:]}")

    def listening(self) -> bool:
        assert not self._is_over, f"the server stopped:\n{self.log[-3000:]}"
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.dimse_port)) == 0

    def ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            address = f"{self.url}/health/ready"
            return httpx.get(address, timeout=5, verify=NO_AUTHORITIES).status_code == 200
        return False

    def kill(self) -> None:
        """``kill -9``: nothing is flushed, closed or said."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process = None

    def stop(self) -> None:
        if self._process is not None:
            process, self._process = self._process, None
            process.terminate()
            try:
                ended = process.wait(timeout=STOP_SECONDS + 15)
            finally:
                process.kill()
                process.wait()
            assert ended == 0, f"the server did not end in time:\n{self.log[-8000:]}"

    def get(self, path: str, **params: Any) -> Any:
        address = f"{self.url}{path}"
        answer = httpx.get(address, params=params, timeout=10, verify=NO_AUTHORITIES)
        answer.raise_for_status()
        return answer.json()

    def all_jobs(self) -> list[dict[str, Any]]:
        """Every job, in short."""
        found, cursor = [], None
        while True:
            page = self.get("/api/v1/jobs", limit=200, **({"cursor": cursor} if cursor else {}))
            found += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found

    def jobs_of(self, study_instance_uid: str) -> list[dict[str, Any]]:
        listed = self.get("/api/v1/jobs", study_instance_uid=study_instance_uid)["items"]
        return [self.get(f"/api/v1/jobs/{item['id']}") for item in listed]

    def finished_job(self, study_instance_uid: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until the study's latest job has ended, well or not."""

        def ended() -> dict[str, Any] | None:
            final = {"done", "failed", "not-analysed", "cancelled"}
            jobs = self.jobs_of(study_instance_uid)
            return jobs[0] if jobs and jobs[0]["state"] in final else None

        job = wait_until(ended, seconds, f"study {study_instance_uid} has no finished job")
        assert job is not None
        return job


@dataclass
class PreloadedServerProcess(ServerProcess):
    """The same in forks of one process: a life begins without the seconds that imports take."""

    _pid: int = 0

    @property
    def pid(self) -> int:
        return self._pid

    def _begin(self) -> None:
        if self._process is None:
            with (self.folder / "server.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "tests.preloaded_process"],
                    cwd=Path(__file__).parents[1],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    bufsize=0,  # so that what was said and not read is seen by select
                )
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(self._arguments).encode() + b"\n")
        self._pid = int(self._said())

    @property
    def _is_over(self) -> bool:
        assert self._process is not None
        readable, _, _ = select.select([self._process.stdout], [], [], 0)
        return bool(readable)

    def kill(self) -> None:
        os.kill(self._pid, signal.SIGKILL)
        assert self._said() == b"over"
        self._pid = 0

    def stop(self) -> None:
        if self._process is None:
            return
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        if self._pid:
            os.kill(self._pid, signal.SIGTERM)
        try:
            self._process.wait(timeout=30)
        finally:
            if self._pid and self._process.poll() is None:
                os.kill(self._pid, signal.SIGKILL)
            self._process.kill()
            self._process.wait()
            self._process.stdout.close()
        self._process = None

    def _said(self) -> bytes:
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()
