"""Schemathesis asks the real application for everything that its description allows, and more."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from api_builders import JOB, finish, make_parts, serving
from builders import STUDY_UID, make_facts
from conftest import Store

pytest.importorskip("schemathesis")
CONFIG = Path(__file__).parents[1] / "schemathesis.toml"
#: From the first user that it makes on, the server asks who it is.
TOKEN = "correct-horse-of-mine"  # noqa: S105
#: Requests that it makes at the least, so that it cannot pass by asking nothing.
LEAST_REQUESTS = 400


#: A key stands for one request, and it would send one of its keys with several.
NO_KEY = """
[parameters]
idempotency-key = ""
"""
#: Ids that are there, so that it comes past 404.
KNOWN = f"""{NO_KEY}
study_instance_uid = "{STUDY_UID}"
series_instance_uid = "{make_facts(1).series_instance_uid}"
sop_instance_uid = "{make_facts(1).sop_instance_uid}"
job_id = "{JOB}"
name = "pacs"
"""


@pytest.mark.parametrize("known", [NO_KEY, KNOWN], ids=["whatever", "what-is-there"])
def test_schemathesis_finds_nothing(store: Store, tmp_path: Path, known: str) -> None:
    finish(store)
    config = tmp_path / "schemathesis.toml"
    config.write_text(known + CONFIG.read_text(encoding="utf-8"), encoding="utf-8")
    with serving(make_parts(store, tokens=[TOKEN])) as client:
        done = subprocess.run(
            [
                *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(config)),
                *("run", f"{client.base_url}/openapi.json"),
                *("--header", f"Authorization: Bearer {TOKEN}"),
                *("--generation-deterministic", "--max-examples", "2"),
                *("--phases", "examples,coverage,fuzzing", "--request-timeout", "60"),
            ],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    made = re.search(r"(\d+) generated", done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:]
    assert made is not None
    assert int(made[1]) > LEAST_REQUESTS
