"""Seconds per study through the whole server, against decoding and networks alone.

``python -m benchmarks.inference`` starts a server as it comes (default settings, the shipped
models) and goes through the same studies in turns: the bare way, a loop in a process of its own
that decodes the images and asks the networks, and the whole way, from the moment in which a study
is complete to its written result objects. What the whole way takes more is the overhead. Both are
of the same minute of the same machine, so that whatever else keeps it busy is in both.

The bare loop finds its files in memory, whatever was done before; the server reads what it has
itself received and written past the page cache, as it does in earnest.
"""

from __future__ import annotations

import argparse
import itertools
import multiprocessing
import os
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

import httpx
import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu_share import GpuShare
from benchmarks.sample_studies import SYNTAXES, studies_in
from benchmarks.served import finished, moment, send, serving, study_of
from oncopixel_pacs.child_process import keep_memory, share_cores
from oncopixel_pacs.imaging.decode_pool import DecodePool
from oncopixel_pacs.imaging.mammogram import read_mammogram
from oncopixel_pacs.imaging.preprocess import prepare
from oncopixel_pacs.logs import configure_logging
from oncopixel_pacs.settings import CompletionSettings, InferenceSettings, shipped_models

if TYPE_CHECKING:
    from oncopixel_pacs.infer.loaded_models import LoadedModels

Study = Sequence[Path]


@dataclass(frozen=True, slots=True)
class Bare:
    """Seconds of a loop over studies that does what no server can do without.

    Attributes
    ----------
    prepare
        Finding the breast and resampling; networks cannot do without it either, but it is
        counted as overhead.
    """

    decode: float
    prepare: float
    forward: float

    @property
    def needed(self) -> float:
        """Decoding and networks."""
        return self.decode + self.forward


@dataclass(frozen=True, slots=True)
class Whole:
    """The way through the server.

    Attributes
    ----------
    seconds
        From the first study that was complete to the last that was written, per study.
    stages
        Seconds per study that the jobs tell; stages of several studies may run side by side.
    gpu_share
        Share of the time in which a GPU worked; ``None`` without one.
    """

    seconds: float
    stages: dict[str, float]
    gpu_share: float | None = None


@dataclass(frozen=True, slots=True)
class Pair:
    """One round: the same studies both ways."""

    bare: Bare
    whole: Whole

    @property
    def overhead(self) -> float:
        """Part of decoding and networks that comes on top of them."""
        return self.whole.seconds / self.bare.needed - 1


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--waiting", type=int, nargs="*", default=[1, 6], help="studies at once")
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--columns", type=int, default=3328)
    parser.add_argument("--syntax", choices=[*SYNTAXES], default="uncompressed", help="as sent")
    parser.add_argument("--studies", type=Path, help="keep the images here, and use them again")
    options = parser.parse_args()
    configure_logging("error", "text")
    with tempfile.TemporaryDirectory(prefix="oncopixel-inference-") as name:
        sent = options.studies or Path(name) / "sent"
        for number in options.waiting:
            # The first round warms up: what is loaded or connected once is not of any study.
            count = number * (options.rounds + 1)
            studies = studies_in(sent, count, options.rows, options.columns, options.syntax)
            os.sync()  # what was written just now is not to be written while we measure
            pairs, device = measure(Path(name) / str(number), studies, number)
            size = f"{options.rows} x {options.columns} {options.syntax}"
            print(f"\n{number} at once, {size}, {device}, {os.cpu_count()} cores")
            print(report(pairs), flush=True)


def measure(data_dir: Path, studies: Sequence[Study], at_once: int) -> tuple[list[Pair], str]:
    """Go through rounds of so many studies both ways; returns them, and where the models ran."""
    # All are there before the first is read: what is measured is reading, not sending.
    completion = CompletionSettings(settle_seconds=1.0 + at_once)
    pairs = []
    with (
        serving(data_dir, completion=completion) as (client, port),
        ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as beside,
    ):
        for turn, first in enumerate(range(0, len(studies), at_once)):
            these = studies[first : first + at_once]
            # By turns, since the machine may change its pace in between.
            alone = None if turn % 2 else beside.submit(bare, these).result()
            whole = through_the_server(these, client, port)
            pairs.append(Pair(alone or beside.submit(bare, these).result(), whole))
        device = str(client.get("/api/v1/overview").json()["device"])
    return pairs[1:], device


def through_the_server(studies: Sequence[Study], client: httpx.Client, port: int) -> Whole:
    """Let the server read studies."""
    with GpuShare() as gpu:
        for study in studies:
            send(study, port)
        jobs = [finished(client, study_of(study[0])) for study in studies]
    begin = min(moment(job["created_at"]) for job in jobs)
    end = max(moment(job["finished_at"]) for job in jobs)
    stages: dict[str, float] = defaultdict(float)
    for job in jobs:
        for step in job["steps"]:
            for part, seconds in step["detail"].items():
                stages[part] += seconds / len(jobs)
    return Whole((end - begin).total_seconds() / len(jobs), dict(stages), gpu.share)


def bare(studies: Sequence[Study]) -> Bare:
    """Decode images and ask the networks, study after study and nothing else."""
    with DecodePool() as decoder:
        read_mammogram(studies[0][0], decoder)  # starts the decoder, as it has started in a server
        for path in itertools.chain(*studies):
            path.read_bytes()  # so that it lies in memory
        return _bare(studies, decoder)


def _bare(studies: Sequence[Study], decoder: DecodePool) -> Bare:
    models = _models()
    seconds = dict.fromkeys(("decode", "prepare", "forward"), 0.0)
    for study in studies:
        images = []
        for path in study:
            since = time.perf_counter()
            mammogram = read_mammogram(path, decoder)
            seconds["decode"] += time.perf_counter() - since
            since = time.perf_counter()
            spacing = mammogram.facts.spacing_mm or (1.0, 1.0)
            images.append(prepare(mammogram.pixels, spacing).image)
            seconds["prepare"] += time.perf_counter() - since
        since = time.perf_counter()
        for batch in _alike(images):
            for model in models.models:
                model.probabilities(batch)
        seconds["forward"] += time.perf_counter() - since
    return Bare(**{name: value / len(studies) for name, value in seconds.items()})


@cache
def _models() -> LoadedModels:
    share_cores()  # as the server does, and
    keep_memory()
    from oncopixel_pacs.infer.loaded_models import load_models  # takes seconds, and only beside

    return load_models(shipped_models(), InferenceSettings())


def _alike(images: Sequence[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    groups: dict[tuple[int, ...], list[NDArray[np.float32]]] = defaultdict(list)
    for image in images:
        groups[image.shape].append(image)
    return [np.stack(group) for group in groups.values()]


def report(pairs: Sequence[Pair]) -> str:
    """Write the tables: medians over the rounds, and the overheads of all of them."""

    def middle(name: str, of: Callable[[Pair], float]) -> str:
        return f"  {name:28}{median(of(pair) for pair in pairs):8.2f} s a study"

    lines = [
        middle("decoding alone", lambda pair: pair.bare.decode),
        middle("networks alone", lambda pair: pair.bare.forward),
        middle("both: what counts as needed", lambda pair: pair.bare.needed),
        middle("(preparing alone)", lambda pair: pair.bare.prepare),
        middle("complete to written", lambda pair: pair.whole.seconds),
    ]
    overheads = sorted(pair.overhead for pair in pairs)
    told = ", ".join(f"{item:.0%}" for item in overheads)
    lines.append(f"  overhead {median(overheads):.0%}, in the rounds {told}")
    for name in pairs[0].whole.stages:
        stage = median(pair.whole.stages.get(name, 0.0) for pair in pairs)
        lines.append(f"  {'stage ' + name:28}{stage:8.2f} s a study")
    shares = [pair.whole.gpu_share for pair in pairs if pair.whole.gpu_share is not None]
    busy = f"{median(shares):.0%} of the time" if shares else "there is none"
    lines.append(f"  GPU at work: {busy}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
