"""What the documents tell to run starts from the repository alone, as a reader would run it."""

from __future__ import annotations

import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import benchmarks

ROOT = Path(__file__).parents[2]

#: Each in a process of its own, since one may add to the search path; what takes long is
#: imported once.
IMPORT_EACH = """
import importlib, os, sys
import oncopixel_pacs.bootstrap
for name in sys.argv[1:]:
    if not os.fork():
        importlib.import_module(name)
        os._exit(0)
    if os.wait()[1]:
        raise SystemExit(f"{name} cannot be started.")
"""


def test_every_benchmark_starts_without_the_search_path_of_the_tests() -> None:
    modules = [f"benchmarks.{item.name}" for item in pkgutil.iter_modules(benchmarks.__path__)]
    assert "benchmarks.soak" in modules
    subprocess.run(
        [sys.executable, "-c", IMPORT_EACH, *modules],
        check=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
