"""A serving process ends when it is told to, whatever its threads still wait for."""

from __future__ import annotations

import subprocess
import sys

WAITS_FOR_EVER = """
import threading
from concurrent.futures import ThreadPoolExecutor
from oncopixel_pacs.cli.leaving import leave

def wait_for_an_outcome():
    threading.Event().wait()
"""


def run(program: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WAITS_FOR_EVER + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_threads_that_wait_for_others_do_not_keep_the_process() -> None:
    done = run(
        "ThreadPoolExecutor(1).submit(wait_for_an_outcome)\n"
        "leave(lambda: print('every part is stopped'), seconds=60)"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "every part is stopped\n", "")


def test_a_stop_that_takes_too_long_is_cut_off_and_says_where_it_was() -> None:
    done = run("leave(wait_for_an_outcome, seconds=0.2)")
    assert done.returncode == 1
    assert "in wait_for_an_outcome" in done.stderr


def test_a_stop_that_fails_says_why() -> None:
    done = run("leave(lambda: 1 / 0, seconds=60)")
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr
