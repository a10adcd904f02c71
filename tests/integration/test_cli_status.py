"""``oncopixel studies`` and ``oncopixel jobs`` where the output is narrow."""

from __future__ import annotations

import json
from pathlib import Path

from api_builders import JOB, analyse, queue, receive
from conftest import Store
from typer.testing import CliRunner

from oncopixel_pacs.cli import app

LONG_UID = "2.25." + "9" * 38
WHY = "Model malignancy-classifier: /srv/models/classifier/models/model.pt cannot be read."


def listed(store: Store, tmp_path: Path, command: str) -> str:
    config = tmp_path / "oncopixel.toml"
    config.write_text(f"data_dir = {json.dumps(str(store.files.data_dir))}", encoding="utf-8")
    words = [command, "list", "--config", str(config)]
    done = CliRunner().invoke(app, words, env={"COLUMNS": "80"})
    assert done.exit_code == 0, done.output
    assert max(map(len, done.output.splitlines())) <= 80
    return done.output


def test_the_id_of_a_job_stands_whole_and_so_does_its_error(store: Store, tmp_path: Path) -> None:
    receive(store, 1)
    queue(store)
    analyse(store)
    store.ledger.note_error(JOB, WHY)
    told = listed(store, tmp_path, "jobs")
    assert JOB in told
    assert "…" not in told


def test_the_uid_of_a_study_stands_whole(store: Store, tmp_path: Path) -> None:
    receive(store, 1, study=LONG_UID)
    told = listed(store, tmp_path, "studies")
    cells = [line.split("│")[1].strip() for line in told.splitlines() if line.startswith("│")]
    assert "".join(cells) == LONG_UID
