"""``python -m benchmarks.idle``: what a server takes that has nothing to do.

It starts a server with default settings, the shipped models and some destinations, waits until
the engine rests, and says which part of one processor it took in the time after that. With
``--waiting`` it then takes in studies of two views, and says what it takes while they wait.
"""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from benchmarks.receivers import cpu_seconds, free_port
from benchmarks.sample_studies import studies_in
from benchmarks.served import send, wait
from oncopixel_pacs.workflow.pace import EVERY_SECONDS, REST_AFTER_SECONDS


def share(pid: int, seconds: float) -> float:
    """Part of one processor that a process and its children take in the time to come."""
    before, began = cpu_seconds(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_seconds(pid) - before) / (time.monotonic() - began)


def configuration(destinations: int, dimse_port: int, http_port: int) -> str:
    """Return settings of a server that sends to so many folders, and waits long for an image."""
    listed = [
        f'[[destinations]]\nname = "folder-{number}"\ntype = "folder"\npath = "out-{number}"\n'
        for number in range(destinations)
    ]
    ports = f"dimse_port = {dimse_port}\nhttp_port = {http_port}\n"
    patience = "[completion]\nquiet_seconds = 3600\n"
    return "\n".join([f'data_dir = "data"\n{ports}', *listed, patience])


def send_incomplete(folder: Path, number: int, port: int) -> None:
    """Send two views of each of so many studies."""
    studies = studies_in(folder, number, 256, 256, "uncompressed")
    send([image for study in studies for image in study[:2]], port)


def _is_ready(port: int) -> bool:
    with suppress(httpx.TransportError):
        return httpx.get(f"http://127.0.0.1:{port}/health/ready").status_code == httpx.codes.OK
    return False


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and say what came of it."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.idle", description=__doc__)
    parser.add_argument("--destinations", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=30.0, help="of each measurement")
    parser.add_argument("--waiting", type=int, default=0, help="studies that wait for more")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="idle-") as folder:
        port, dimse_port = free_port(), free_port()
        settings = configuration(chosen.destinations, dimse_port, port)
        (Path(folder) / "oncopixel.toml").write_text(settings)
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", "oncopixel_pacs", "serve"], cwd=folder, stdout=subprocess.DEVNULL
        )
        try:
            wait(lambda: _is_ready(port))
            awake = share(process.pid, min(chosen.seconds, REST_AFTER_SECONDS / 2))
            time.sleep(REST_AFTER_SECONDS + EVERY_SECONDS)
            resting = share(process.pid, chosen.seconds)
            send_incomplete(Path(folder) / "sent", chosen.waiting, dimse_port)
            waiting = share(process.pid, chosen.seconds) if chosen.waiting else None
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    sys.stdout.write(
        f"{chosen.destinations} destinations, part of one processor: "
        f"{awake:.1%} looking for work, {resting:.1%} at rest"
    )
    if waiting is not None:
        sys.stdout.write(f", {waiting:.1%} while {chosen.waiting} studies wait")
    sys.stdout.write("\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
