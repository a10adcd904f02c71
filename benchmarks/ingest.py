"""``python -m benchmarks.ingest``: C-STORE into this server, DCMTK's storescp and Orthanc.

The same sender, one process per association, TCP_NODELAY and PDUs of 128 KB for all; the order
of the receivers changes from repetition to repetition, and what is compared are medians of
ratios within one repetition. This server answers with success only when file and row are
durable; afterwards the benchmark reads every file and row and compares digests.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.receivers import RECEIVERS, Receiver, measured, running
from benchmarks.store_sender import send
from benchmarks.store_stream import LOADS, StoreStream

#: Objects per run: some seconds for the slowest receiver.
OBJECTS = {"27 MB": 24, "130 KB": 1600}
QUICK_OBJECTS = {"27 MB": 8, "130 KB": 320}
OURS = "OncoPixel"
PEERS = ("Orthanc", "storescp")
#: What must hold on each number of associations: load, peer, least ratio of objects per second.
GOALS = (("27 MB", "Orthanc", 3.0), ("27 MB", "storescp", 0.6), ("130 KB", "Orthanc", 1.5))
MOST_PEAK_MB = 250.0


@dataclass(frozen=True, slots=True)
class Measurement:
    """One run of one receiver."""

    receiver: str
    load: str
    associations: int
    repetition: int
    objects_per_second: float
    mb_per_second: float
    cpu_ms_per_object: float
    peak_mb: float


def measure(
    kind: type[Receiver], load: str, associations: int, count: int, repetition: int, folder: Path
) -> Measurement:
    """Start a receiver, send to it, and check what it kept."""
    receiver = kind(folder)
    stream = StoreStream(LOADS[load])
    try:
        with running(receiver) as process:
            # The first object of a process pays for what is made once.
            send(receiver.port, receiver.called_ae_title, load, 1, 0, 1)
            with measured(process) as usage:
                sent = send(
                    receiver.port, receiver.called_ae_title, load, associations, 1000, count
                )
            receiver.check(sent.numbers, stream)
    finally:
        _give_back(folder)
    number = len(sent.numbers)
    return Measurement(
        receiver=receiver.name,
        load=load,
        associations=associations,
        repetition=repetition,
        objects_per_second=number / sent.seconds,
        mb_per_second=sent.dataset_bytes / 1e6 / sent.seconds,
        cpu_ms_per_object=usage.cpu_seconds * 1e3 / number,
        peak_mb=usage.peak_bytes / 1e6,
    )


def _give_back(folder: Path) -> None:
    """Give back the room that a receiver's files take, and leave the files.

    Ext4 passes over each inode that was freed within the last minute whenever it makes a file
    (``recently_deleted``): files removed now would take half of the next receiver's time.
    """
    for path in folder.rglob("*"):
        if path.is_file():
            os.truncate(path, 0)


def measure_all(
    kinds: Sequence[type[Receiver]],
    loads: Sequence[str],
    associations: Sequence[int],
    repetitions: int,
    objects: dict[str, int],
    folder: Path,
) -> list[Measurement]:
    """Run everything, receivers next to each other so that a noisy moment hits them alike."""
    found = []
    for repetition in range(repetitions):
        for load in loads:
            for number in associations:
                order = random.Random(f"{repetition}{load}{number}")  # noqa: S311
                for kind in order.sample(kinds, len(kinds)):
                    place = folder / f"receiver-{len(found)}"
                    item = measure(kind, load, number, objects[load], repetition, place)
                    _say(
                        f"{repetition + 1}  {load:>6}  {number}  {item.receiver:<16}"
                        f"{item.objects_per_second:9.1f}/s {item.mb_per_second:8.0f} MB/s "
                        f"{item.cpu_ms_per_object:7.2f} ms {item.peak_mb:6.0f} MB"
                    )
                    found.append(item)
    return found


def ratio(found: Iterable[Measurement], load: str, associations: int, peer: str) -> float | None:
    """Median over the repetitions of our objects per second over a peer's."""
    speed = {
        (item.receiver, item.repetition): item.objects_per_second
        for item in found
        if item.load == load and item.associations == associations
    }
    best = _speeds_of(speed, peer)
    ours = _speeds_of(speed, OURS)
    ratios = [ours[repetition] / best[repetition] for repetition in ours if repetition in best]
    return statistics.median(ratios) if ratios else None


def _speeds_of(speed: dict[tuple[str, int], float], name: str) -> dict[int, float]:
    """Speed by repetition; storescp counts in the mode that is faster there."""
    best: dict[int, float] = {}
    for (receiver, repetition), value in speed.items():
        if receiver.split(" --")[0] == name:
            best[repetition] = max(value, best.get(repetition, 0.0))
    return best


def table(found: Sequence[Measurement]) -> str:
    """Markdown table of medians."""
    lines = [
        "| objects | associations | receiver | objects/s | MB/s | CPU ms/object | peak MB "
        "| × Orthanc | × storescp |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    keys = dict.fromkeys((item.load, item.associations, item.receiver) for item in found)
    order = [kind.name for kind in RECEIVERS]
    for load, associations, receiver in sorted(
        keys, key=lambda key: (list(LOADS).index(key[0]), key[1], order.index(key[2]))
    ):
        items = [
            item
            for item in found
            if (item.load, item.associations, item.receiver) == (load, associations, receiver)
        ]
        ratios = [""] * len(PEERS)
        if receiver == OURS:
            ratios = [_number(ratio(found, load, associations, peer)) for peer in PEERS]
        cells = [
            f"{statistics.median(item.objects_per_second for item in items):.1f}",
            f"{statistics.median(item.mb_per_second for item in items):.0f}",
            f"{statistics.median(item.cpu_ms_per_object for item in items):.2f}",
            f"{max(item.peak_mb for item in items):.0f}",
        ]
        lines.append("| " + " | ".join([load, str(associations), receiver, *cells, *ratios]) + " |")
    return "\n".join(lines)


def missed_goals(found: Sequence[Measurement]) -> list[str]:
    """Goals that were measured and not met, in words."""
    missed = []
    numbers = sorted({item.associations for item in found})
    for load, peer, least in GOALS:
        for number in numbers:
            value = ratio(found, load, number, peer)
            if value is not None and value < least:
                missed.append(f"{load}, {number} associations: {value:.2f} × {peer} < {least}")
    peak = max((item.peak_mb for item in found if item.receiver == OURS), default=0.0)
    if peak >= MOST_PEAK_MB:
        missed.append(f"peak memory {peak:.0f} MB, {MOST_PEAK_MB:.0f} MB are allowed")
    return missed


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _loads(given: str) -> list[str]:
    names = given.split(",")
    if unknown := [name for name in names if name not in LOADS]:
        raise argparse.ArgumentTypeError(f"no load {unknown[0]}; choose of {', '.join(LOADS)}")
    return names


def _arguments(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.ingest", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one short repetition")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--associations", default="1,4,8", help="numbers, with commas")
    parser.add_argument(
        "--loads", type=_loads, default=",".join(LOADS), help=f"with commas, of {', '.join(LOADS)}"
    )
    parser.add_argument("--receivers", help="names, with commas; all that are installed if absent")
    parser.add_argument(
        "--folder", type=Path, help="where receivers write; a temporary one if absent"
    )
    parser.add_argument("--json", type=Path, help="write every measurement to this file")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and the goals that were missed; 1 when there are any."""
    chosen = _arguments(arguments)
    kinds = [kind for kind in RECEIVERS if not kind.missing()]
    for kind in RECEIVERS:
        if kind.missing():
            _say(f"without {kind.name}: {kind.missing()} is not installed")
    if chosen.receivers:
        kinds = [kind for kind in kinds if kind.name in chosen.receivers.split(",")]
    with tempfile.TemporaryDirectory(dir=chosen.folder, prefix="ingest-") as folder:
        found = measure_all(
            kinds,
            chosen.loads,
            [int(number) for number in chosen.associations.split(",")],
            1 if chosen.quick else chosen.repetitions,
            QUICK_OBJECTS if chosen.quick else OBJECTS,
            Path(folder),
        )
    if chosen.json:
        chosen.json.write_text(json.dumps([asdict(item) for item in found], indent=1))
    _say("\n" + table(found))
    missed = missed_goals(found)
    _say("\nEvery goal is met." if not missed else "\nMissed:\n" + "\n".join(missed))
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
