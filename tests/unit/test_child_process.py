"""How processes of the server use memory."""

from __future__ import annotations

import subprocess
import sys

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
