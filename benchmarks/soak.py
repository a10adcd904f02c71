"""Faults and load for some minutes: what was acknowledged, lost, duplicated, stuck.

``python -m benchmarks.soak --minutes 5``. A real server is killed (``kill -9``) and paused at
random while modalities send; senders break off, send twice and in any order. Then the server is
left alone, the work is given time, and the oracle of the fault tests is asked. To the end the
archive refuses, aborts, and keeps objects without an answer. The status is 1 when anything was
lost, duplicated or stuck.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
from pydicom import dcmread
from pydicom.uid import RLELossless
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    Comprehensive3DSRStorage,
    SegmentationStorage,
)

from oncopixel_pacs.deliver.cstore import send_files
from oncopixel_pacs.errors import DeliveryFailed
from sample_dicom.study import write_studies
from tests.faults.oracle import dataset_digest, lost
from tests.server_process import ServerProcess

SENDERS = 3
#: Seconds between two faults of the server, from and to.
PEACE = (4.0, 15.0)
PAUSE = (1.0, 5.0)


@dataclass(frozen=True)
class Verdict:
    """What came of a soak.

    Attributes
    ----------
    lost
        SOP Instance UIDs that were acknowledged and are not on disk with their digest.
    duplicated
        Studies with more than one revision or job, results that belong to no job, and results
        that the archive got with different bytes.
    stuck
        Studies whose job did not end well.
    sent_again
        Results that the archive got more than once with the same bytes: on the wire in a fault.
    """

    acknowledged: int
    lost: tuple[str, ...]
    duplicated: tuple[str, ...]
    stuck: tuple[str, ...]
    sent_again: int

    @property
    def good(self) -> bool:
        """Whether everything that must be nothing is."""
        return not (self.lost or self.duplicated or self.stuck)


@dataclass
class FaultyArchive:
    """Takes result objects, and misbehaves with a probability."""

    chance: random.Random
    came: Counter[str] = field(default_factory=Counter)
    digests: dict[str, set[str]] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)
    port: int = 0

    def store(self, event: Any) -> int:
        """Take an object, or do not."""
        fault = self.chance.random()
        if fault < 0.10:
            self.faults["refused"] += 1
            return 0xA700
        if fault < 0.15:
            self.faults["aborted"] += 1
            event.assoc.abort()
            return 0xA700
        uid = str(event.request.AffectedSOPInstanceUID)
        self.came[uid] += 1
        digest = hashlib.sha256(event.request.DataSet.getvalue()).hexdigest()
        self.digests.setdefault(uid, set()).add(digest)
        if fault < 0.20:
            # Kept, and never answered: the sender cannot know.
            self.faults["silent"] += 1
            event.assoc.abort()
        return 0x0000

    def start(self) -> Any:
        """Listen; returns the server."""
        ae = AE("ARCHIVE")
        for sop_class in (SegmentationStorage, Comprehensive3DSRStorage):
            ae.add_supported_context(sop_class)
        server = ae.start_server(
            ("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, self.store)]
        )
        assert server is not None  # noqa: S101
        self.port = int(server.socket.getsockname()[1])
        return server


@dataclass
class Modality:
    """Sends studies until it is stopped; every image until it is acknowledged."""

    server: ServerProcess
    studies: list[list[Path]]
    chance: random.Random
    stop: threading.Event
    pace_seconds: float
    acknowledged: dict[str, str] = field(default_factory=dict)
    begun: list[str] = field(default_factory=list)
    broken_off: int = 0

    def run(self) -> None:
        """Send."""
        for study in self.studies:
            if self.stop.is_set():
                return
            self.begun.append(str(dcmread(study[0], stop_before_pixels=True).StudyInstanceUID))
            images = [*study, self.chance.choice(study)]
            self.chance.shuffle(images)
            for path in images:
                self._break_off()
                while not self._send(path):
                    time.sleep(0.3)
            self.stop.wait(self.chance.uniform(0.0, 2.0) * self.pace_seconds)

    def _send(self, path: Path) -> bool:
        try:
            outcomes = list(
                send_files(
                    [path],
                    "127.0.0.1",
                    self.server.dimse_port,
                    called_ae_title="ONCOPIXEL",
                    calling_ae_title="MODALITY",
                    timeout_seconds=20,
                )
            )
        except DeliveryFailed:
            return False
        for item in outcomes:
            if item.accepted:
                self.acknowledged[item.sop_instance_uid] = dataset_digest(path)
        return bool(outcomes) and all(item.accepted for item in outcomes)

    def _break_off(self) -> None:
        """Now and then, hang up in the middle of a transfer."""
        if self.chance.random() > 0.1:
            return
        self.broken_off += 1
        with (
            suppress(OSError),
            socket.create_connection(("127.0.0.1", self.server.dimse_port), timeout=2) as sock,
        ):
            sock.sendall(b"\x01\x00\x00\x00\x01\x00" + b"\x00" * self.chance.randrange(60))


def torment(server: ServerProcess, seconds: float, chance: random.Random) -> Counter[str]:
    """Kill and pause a server for so long; returns how often each was done."""
    done: Counter[str] = Counter()
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(chance.uniform(*PEACE), left))
        if chance.random() < 0.6:
            server.kill()
            done["killed"] += 1
            server.start(ready=False)
        else:
            os.kill(server.pid, signal.SIGSTOP)
            time.sleep(chance.uniform(*PAUSE))
            os.kill(server.pid, signal.SIGCONT)
            done["paused"] += 1
    return done


def judge(
    acknowledged: Mapping[str, str],
    stored: Sequence[Path],
    jobs: Mapping[str, Sequence[Mapping[str, Any]]],
    came: Mapping[str, int],
    digests: Mapping[str, set[str]],
) -> Verdict:
    """Ask the oracle.

    Parameters
    ----------
    acknowledged
        Digest of every acknowledged image, by SOP Instance UID.
    stored
        Files that the server holds.
    jobs
        Jobs of each study that was sent, as the API shows them.
    came, digests
        How often each result came to the archive, and with which bytes.
    """
    known = {
        item["sop_instance_uid"]
        for each in jobs.values()
        for job in each
        for item in job["objects"]
    }
    more = [study for study, each in jobs.items() if len(each) > 1]
    foreign = [uid for uid in came if uid not in known]
    changed = [uid for uid, found in digests.items() if len(found) > 1]
    undelivered = {
        study
        for study, each in jobs.items()
        for job in each
        for item in job["objects"]
        if item["sop_instance_uid"] not in came
    }
    unended = {study for study, each in jobs.items() if [job["state"] for job in each] != ["done"]}
    return Verdict(
        acknowledged=len(acknowledged),
        lost=tuple(lost(acknowledged, stored)),
        duplicated=tuple(sorted({*more, *foreign, *changed})),
        stuck=tuple(sorted({*undelivered, *unended})),
        sent_again=sum(number > 1 for number in came.values()),
    )


def drain(server: ServerProcess, studies: Sequence[str], seconds: float) -> float:
    """Wait until every study has ended well, or the time is up; returns how long that was."""
    begin = time.monotonic()
    while time.monotonic() - begin < seconds:
        with suppress(httpx.HTTPError):
            done = {
                job["study_instance_uid"] for job in server.all_jobs() if job["state"] == "done"
            }
            if set(studies) <= done:
                break
        time.sleep(1.0)
    return time.monotonic() - begin


def soak(
    folder: Path, minutes: float, seed: int, drain_seconds: float, pace_seconds: float
) -> Verdict:
    """Run it all, and print what was done."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    archive = FaultyArchive(random.Random(seed + 1))  # noqa: S311
    listener = archive.start()
    server = ServerProcess(
        folder / "server",
        # A study settles with its fourth view, and never before.
        completion="settle_seconds = 0.5\nquiet_seconds = 3600.0\nmax_wait_seconds = 3600.0",
        destinations=f"""
[[destinations]]
name = "archive"
type = "cstore"
host = "127.0.0.1"
port = {archive.port}
ae_title = "ARCHIVE"
""",
    )
    stop = threading.Event()
    modalities = [
        Modality(
            server,
            _studies(folder / f"sent-{n}", n, minutes * 60 / pace_seconds),
            random.Random(seed + n),  # noqa: S311
            stop,
            pace_seconds,
        )
        for n in range(SENDERS)
    ]
    server.start(ready=False)
    threads = [threading.Thread(target=item.run, daemon=True) for item in modalities]
    for thread in threads:
        thread.start()
    faults = torment(server, minutes * 60, chance)
    stop.set()
    for thread in threads:
        thread.join()
    studies = [uid for item in modalities for uid in item.begun]
    waited = drain(server, studies, drain_seconds)
    jobs = {uid: server.jobs_of(uid) for uid in studies}
    server.stop()
    listener.shutdown()
    print(f"{len(studies)} studies by {SENDERS} modalities in {minutes:g} minutes of faults")
    print(f"server   {dict(faults)}")
    print(f"archive  {dict(archive.faults)}")
    print(f"senders  {sum(item.broken_off for item in modalities)} transfers broken off")
    print(f"drained  {waited:.0f} s after the last fault")
    acknowledged = {uid: digest for item in modalities for uid, digest in item.acknowledged.items()}
    stored = list((server.data_dir / "instances").rglob("*.dcm"))
    return judge(acknowledged, stored, jobs, archive.came, archive.digests)


def _studies(folder: Path, number: int, expected: float) -> list[list[Path]]:
    """Four views each, more than can be sent; every second study comes compressed."""
    count = 4 + int(2 * expected)
    images = list(
        write_studies(folder, count, 1000 * (number + 1), lesion=True, rows=256, columns=208)
    )
    studies = [images[begin : begin + 4] for begin in range(0, len(images), 4)]
    for path in itertools.chain(*studies[1::2]):
        dataset = dcmread(path)
        dataset.compress(RLELossless, generate_instance_uid=False)
        dataset.save_as(path, enforce_file_format=True)
    return studies


def main() -> int:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--drain-seconds", type=float, default=600.0)
    parser.add_argument(
        "--pace-seconds", type=float, default=20.0, help="Between two studies of one modality."
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="oncopixel-soak-") as folder:
        verdict = soak(
            Path(folder),
            options.minutes,
            options.seed,
            options.drain_seconds,
            options.pace_seconds,
        )
    print(f"acknowledged  {verdict.acknowledged}")
    print(f"lost          {len(verdict.lost)}  {' '.join(verdict.lost[:5])}")
    print(f"duplicated    {len(verdict.duplicated)}  {' '.join(verdict.duplicated[:5])}")
    print(f"stuck         {len(verdict.stuck)}  {' '.join(verdict.stuck[:5])}")
    print(f"sent again    {verdict.sent_again}  (same UID, same bytes)")
    return 0 if verdict.good else 1


if __name__ == "__main__":
    sys.exit(main())
