"""A command loads what it needs: nobody waits for the server to hear a version."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from oncopixel_pacs.cli import app

#: What takes long to load, or pulls in much that does.
HEAVY = frozenset({"torch", "monai", "highdicom", "scipy", "skimage", "pydicom", "pynetdicom"})
SERVER = frozenset({"fastapi", "uvicorn", "dbos", "alembic"})
STORE = frozenset({"sqlmodel", "sqlalchemy", "numpy"})


@pytest.mark.parametrize(
    ("command", "needless"),
    [
        pytest.param(command, needless, id=command)
        for command, needless in {
            "--version": HEAVY | SERVER | STORE | {"rich", "pydantic"},
            "--help": HEAVY | SERVER | STORE | {"pydantic"},
            "jobs list": HEAVY | SERVER,
            "tokens list": HEAVY | SERVER,
            "destinations list": SERVER | {"torch", "monai", "highdicom"},
            "serve --help": HEAVY | SERVER,
        }.items()
    ],
)
def test_a_command_loads_nothing_needless(
    command: str, needless: frozenset[str], tmp_path: Path
) -> None:
    words = command.split()
    # Where there is a database already, as there is beside a server.
    if words[-1] == "list":
        (tmp_path / "oncopixel.toml").write_text('data_dir = "data"', encoding="utf-8")
        made = ["tokens", "list", "-c", str(tmp_path / "oncopixel.toml")]
        listed = CliRunner().invoke(app, made)
        assert listed.exit_code == 0, listed.output
    done = subprocess.run(
        [sys.executable, "-m", "oncopixel_pacs", *words],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPROFILEIMPORTTIME": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "typer" in imported
    assert imported & needless == set()


def test_the_help_of_the_whole_is_what_the_commands_say_of_themselves() -> None:
    whole = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200"}).output
    for word, command in get_command(app).commands.items():
        said = (command.help or "").partition("\n\n")[0].replace("\n", " ")
        assert f"│ {word} " in whole
        assert f" {said} " in whole, word
