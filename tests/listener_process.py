"""A listener in a process of its own, whose memory can be looked at."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PROGRAM = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from dimse_builder import reception
with reception(Path(sys.argv[1])) as received:
    print(received.port, flush=True)
    sys.stdin.readline()
"""


@dataclass(frozen=True)
class Listener:
    """Where it listens, and its process."""

    port: int
    pid: int


@contextmanager
def listener_process(data_dir: Path) -> Iterator[Listener]:
    """Run an acceptor in a process of its own, on a free port."""
    process = subprocess.Popen(
        [sys.executable, "-c", _PROGRAM, str(data_dir), str(Path(__file__).parent)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        lines = iter(process.stdout.readline, "")
        port = next(int(line) for line in lines if line.strip().isdigit())
        yield Listener(port, process.pid)
    finally:
        process.communicate("\n", timeout=60)
