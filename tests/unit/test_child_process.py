"""How processes of the server use memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

# Takes and frees as much as an image does, twice, and says how many pages came anew.
_TAKE_TWICE = """
import resource
from oncopixel_pacs.child_process import keep_memory
keep_memory()
for _ in range(2):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    image = bytearray(b"x") * (48 << 20)
    del image
    print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a setting of GNU's C library")
def test_what_was_freed_is_used_again_and_not_cleared_anew() -> None:
    said = subprocess.run(
        [sys.executable, "-c", _TAKE_TWICE], capture_output=True, text=True, check=True
    ).stdout
    first, second = map(int, said.split())
    assert second < first / 10


# The program is started as a daemon's script may do it: oncopixel serve <&- >&- 2>&-
_WITHOUT_STREAMS = """
import os, sys
from oncopixel_pacs.cli import main
sys.argv[1:] = ["--version", said := sys.argv[1]]
try:
    main()
except SystemExit:
    pass
print("to nobody")
print("to nobody", file=sys.stderr, flush=True)
opened = os.open(said, os.O_CREAT | os.O_WRONLY)
os.write(opened, f"{sys.stdin.read()!r} {opened > 2} {sys.stderr.isatty()}".encode())
"""


def test_standard_streams_that_are_closed_take_what_is_written_and_give_nothing(
    tmp_path: Path,
) -> None:
    program = ["sh", "-c", 'exec "$0" -c "$1" "$2" <&- >&- 2>&-', sys.executable]
    said = tmp_path / "said"
    subprocess.run([*program, _WITHOUT_STREAMS, str(said)], check=True)
    assert said.read_text(encoding="utf-8") == "'' True False"
