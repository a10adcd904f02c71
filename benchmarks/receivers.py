"""The receivers that are compared, each in a process of its own and set to 128 KB PDUs."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from benchmarks.store_stream import PDU_BYTES, StoreStream, sop_instance_uid
from oncopixel_pacs.digests import DatasetDigest

#: pynetdicom puts a storescp of its own beside this interpreter.
_PATH = os.pathsep.join(
    item
    for item in os.get_exec_path()
    if Path(item).resolve() != Path(sys.executable).parent.resolve()
)
_TICKS = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 60.0


def free_port() -> int:
    """Return a port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class NotKept(Exception):
    """What was acknowledged is not there."""


@dataclass
class Receiver:
    """One receiver, with its data below a folder.

    Attributes
    ----------
    name
        Row of the table.
    """

    folder: Path
    name: ClassVar[str] = ""
    called_ae_title: str = "RECEIVER"
    port: int = field(default_factory=free_port)

    @staticmethod
    def missing() -> str:
        """Say what is not installed; empty when all is there."""
        return ""

    def command(self) -> list[str]:
        """Command line; may write its configuration first."""
        raise NotImplementedError

    def check(self, numbers: tuple[int, ...], stream: StoreStream) -> None:
        """Compare what is kept with what was acknowledged.

        Raises
        ------
        NotKept
            When something is missing or different.
        """


class OncoPixel(Receiver):
    """Our listener as it is run: file and row are durable before success."""

    name = "OncoPixel"

    def command(self) -> list[str]:
        """Serve the receiving role alone, with its own SQLite."""
        config = self.folder / "oncopixel.toml"
        config.write_text(
            f'data_dir = "data"\ndimse_port = {self.port}\nae_title = "RECEIVER"\n'
            "[receive]\nleast_free_bytes = 0\n"
        )
        serve = ["serve", "--role", "receive", "--config", str(config)]
        return [sys.executable, "-m", "oncopixel_pacs", *serve]

    def check(self, numbers: tuple[int, ...], stream: StoreStream) -> None:
        """Each has a row with the digest that was sent, and a file with those bytes."""
        data = self.folder / "data"
        with closing(sqlite3.connect(data / "oncopixel.sqlite")) as connection:
            rows = connection.execute("SELECT sop_instance_uid, digest, path FROM instance")
            held = {uid: (digest, path) for uid, digest, path in rows}
        for number in numbers:
            expected = stream.digest(number)
            digest, path = held.get(sop_instance_uid(number), ("", ""))
            if digest != expected:
                raise NotKept(f"object {number} has no row with its digest")
            content = memoryview((data / path).read_bytes())[-stream.dataset_bytes :]
            if DatasetDigest(content).text() != expected:
                raise NotKept(f"the file of object {number} holds other bytes")


class Storescp(Receiver):
    """DCMTK's storescp, bit preserving; it never syncs."""

    name = "storescp"
    options: ClassVar[tuple[str, ...]] = ()

    @staticmethod
    def missing() -> str:
        """Say what is not installed."""
        return "" if shutil.which("storescp", path=_PATH) else "dcmtk"

    def command(self) -> list[str]:
        """Serve, without Nagle's algorithm."""
        program = shutil.which("storescp", path=_PATH) or "storescp"
        kept = self.folder / "kept"
        kept.mkdir()
        options = ["+B", "-pdu", str(PDU_BYTES), "-od", str(kept), *self.options]
        return ["env", "TCP_NODELAY=1", program, *options, str(self.port)]

    def check(self, numbers: tuple[int, ...], stream: StoreStream) -> None:
        """There are as many files as were sent, and the warm-up."""
        count = sum(
            path.stat().st_size >= stream.dataset_bytes for path in (self.folder / "kept").iterdir()
        )
        if count < len(numbers):
            raise NotKept(f"storescp kept {count} of {len(numbers)}")


class ForkingStorescp(Storescp):
    """The same with a process for each association; without it they wait for each other."""

    name = "storescp --fork"
    options = ("--fork", "+uf")


class Orthanc(Receiver):
    """Orthanc as it comes: file synced, row in a SQLite whose log is not."""

    name = "Orthanc"

    @staticmethod
    def missing() -> str:
        """Say what is not installed."""
        return "" if shutil.which("Orthanc") else "orthanc"

    def command(self) -> list[str]:
        """Serve with defaults but for PDU length and ports."""
        self.http_port = free_port()
        config = self.folder / "orthanc.json"
        settings = {
            "StorageDirectory": str(self.folder / "kept"),
            "IndexDirectory": str(self.folder / "kept"),
            "HttpPort": self.http_port,
            "DicomPort": self.port,
            "DicomAet": self.called_ae_title,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "MaximumPduLength": PDU_BYTES,
            "TcpNoDelay": True,
        }
        config.write_text(json.dumps(settings))
        return ["env", "TCP_NODELAY=1", shutil.which("Orthanc") or "Orthanc", str(config)]

    def check(self, numbers: tuple[int, ...], stream: StoreStream) -> None:
        """Its index counts as many instances."""
        url = f"http://127.0.0.1:{self.http_port}/statistics"
        with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
            count = json.load(answer)["CountInstances"]
        if count < len(numbers):
            raise NotKept(f"Orthanc kept {count} of {len(numbers)}")


class Sink(Receiver):
    """Takes every byte and keeps none: what the sender can do at most."""

    name = "sink"

    def command(self) -> list[str]:
        """Run the sink of this package."""
        # Receivers run in their own folder, from where this package cannot be found.
        at = f"PYTHONPATH={Path(__file__).parents[1]}"
        return ["env", at, sys.executable, "-m", "benchmarks.sink", str(self.port)]


RECEIVERS: tuple[type[Receiver], ...] = (Sink, OncoPixel, Storescp, ForkingStorescp, Orthanc)


@dataclass
class Usage:
    """What a receiver used while it ran."""

    cpu_seconds: float = 0.0
    peak_bytes: int = 0


@contextmanager
def running(receiver: Receiver) -> Iterator[subprocess.Popen[bytes]]:
    """Start a receiver, wait until it listens, and end it afterwards."""
    receiver.folder.mkdir(parents=True)
    said = receiver.folder / "log"
    with said.open("wb") as log:
        process = subprocess.Popen(  # noqa: S603
            receiver.command(), stdout=log, stderr=log, cwd=receiver.folder
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        while not _listens(receiver.port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise NotKept(f"{receiver.name} did not start: {said.read_text()[-2000:]}")
            time.sleep(0.1)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(30)
        finally:
            process.kill()


@contextmanager
def measured(process: subprocess.Popen[bytes]) -> Iterator[Usage]:
    """Fill in what a process and its children use inside the block."""
    usage = Usage()
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            resident = sum(_status(pid, "VmRSS") for pid in _family(process.pid))
            usage.peak_bytes = max(usage.peak_bytes, resident)

    watcher = threading.Thread(target=watch)
    before = cpu_seconds(process.pid)
    watcher.start()
    try:
        yield usage
    finally:
        ended.set()
        watcher.join()
        usage.cpu_seconds = cpu_seconds(process.pid) - before
        usage.peak_bytes = max(usage.peak_bytes, _status(process.pid, "VmHWM"))


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _family(pid: int) -> list[int]:
    family = [pid]
    for member in family:
        try:
            children = Path(f"/proc/{member}/task/{member}/children").read_text().split()
        except OSError:
            continue
        family += [int(child) for child in children]
    return family


def _status(pid: int, key: str) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(key)), 0)


def cpu_seconds(pid: int) -> float:
    """User and system time of a process, its children, and those that ended."""
    total = 0
    for member in _family(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
        total += sum(int(value) for value in fields[11:15])
    return total / _TICKS
