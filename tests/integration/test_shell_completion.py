"""The shell completes commands, options and values, in a moment and without loading the server."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from api_builders import JOB, queue, receive
from builders import NOON, STUDY_UID
from conftest import Store
from server_process import wait_until

from oncopixel_pacs.cli.completion import read_shape
from oncopixel_pacs.cli.values import VALUES, values_of
from oncopixel_pacs.domain.access import AccessRole
from oncopixel_pacs.store.api_tokens import ApiTokens
from oncopixel_pacs.store.recent import recent

SHELL = shutil.which("bash")
CONFIG = """data_dir = "."
[[destinations]]
name = "archive"
type = "folder"
path = "out"
[[destinations]]
name = "research"
type = "folder"
path = "other"
[[sources]]
name = "old-archive"
type = "orthanc"
url = "http://127.0.0.1:9"
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keep what the first answer leaves behind, for the others."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def environment(tmp_path: Path, cache: Path) -> dict[str, str]:
    """Put the program on the path, with a configuration of two destinations."""
    (tmp_path / "oncopixel.toml").write_text(CONFIG, encoding="utf-8")
    program = tmp_path / "bin" / "oncopixel"
    program.parent.mkdir()
    program.write_text(
        f"#!{sys.executable}\nfrom oncopixel_pacs.cli import main\nmain()\n",
        encoding="utf-8",
    )
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "ONCOPIXEL_CONFIG": str(tmp_path / "oncopixel.toml"),
        "XDG_CACHE_HOME": str(cache),
    }


def asked(environment: Mapping[str, str], *words: str) -> list[str]:
    """Tell what bash is answered when the last word is to be completed."""
    done = subprocess.run(
        ["oncopixel"],
        env={
            **environment,
            "_ONCOPIXEL_COMPLETE": "complete_bash",
            "COMP_WORDS": " ".join(("oncopixel", *words)),
            "COMP_CWORD": str(len(words)),
        },
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.split()


def test_commands_options_and_values_are_completed(
    environment: dict[str, str], store: Store
) -> None:
    receive(store)
    queue(store)
    assert asked(environment, "dest") == ["destinations"]
    assert {"list", "show", "retry"} <= set(asked(environment, "jobs", ""))
    assert "--json" in asked(environment, "jobs", "list", "--")
    assert asked(environment, "jobs", "list", "--state", "fa") == ["failed"]
    assert asked(environment, "destinations", "echo", "--name", "") == ["archive", "research"]
    assert asked(environment, "jobs", "show", "") == [JOB]


def test_every_value_that_can_be_completed_belongs_to_a_command(
    store: Store, tmp_path: Path
) -> None:
    shape = read_shape()
    named = {(words, word["name"]) for words, told in shape.items() for word in told["words"]}
    assert named >= VALUES.keys()
    receive(store)
    queue(store)
    made, _ = ApiTokens(store.database).create("app", AccessRole.VIEWER, (), NOON, None)
    config = tmp_path / "oncopixel.toml"
    config.write_text(CONFIG, encoding="utf-8")
    for command, parameter, known in (
        ("jobs retry", "job_id", [JOB]),
        ("studies complete", "study_instance_uid", [STUDY_UID]),
        ("tokens revoke", "token_id", [made.id]),
        ("users remove", "name", []),
        ("pull", "source", ["old-archive"]),
        ("destinations echo", "name", ["archive", "research"]),
        ("run", "model", ["malignancy-classifier", "lesion-segmenter"]),
    ):
        assert values_of(command, parameter, config) == known, command


def test_postgresql_tells_ids_too_and_nobody_is_no_error(any_store: Store, tmp_path: Path) -> None:
    receive(any_store)
    queue(any_store)
    url = any_store.database.engine.url.render_as_string(hide_password=False)
    assert recent(url, "job") == [JOB]
    assert recent(f"sqlite:///{tmp_path / 'none.sqlite'}", "job") == []
    assert recent("postgresql+psycopg://nobody@127.0.0.1:9/none", "job") == []
    assert not (tmp_path / "none.sqlite").exists()


def test_nothing_heavy_is_loaded(environment: dict[str, str]) -> None:
    asked(environment, "dest")
    done = subprocess.run(
        ["oncopixel"],
        env={
            **environment,
            "_ONCOPIXEL_COMPLETE": "complete_bash",
            "COMP_WORDS": "oncopixel jobs show ",
            "COMP_CWORD": "3",
            "PYTHONPROFILEIMPORTTIME": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "oncopixel_pacs.cli.completion" in imported
    assert imported & {"torch", "numpy", "sqlalchemy", "fastapi", "pydicom"} == set()


@pytest.mark.parametrize(
    ("shell", "told"),
    [("zsh", "_arguments"), ("fish", "destinations")],
)
def test_other_shells_ask_in_their_own_way(
    environment: dict[str, str], shell: str, told: str
) -> None:
    done = subprocess.run(
        ["oncopixel"],
        env={
            **environment,
            "_ONCOPIXEL_COMPLETE": f"complete_{shell}",
            "_TYPER_COMPLETE_ARGS": "oncopixel dest",
            "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert told in done.stdout
    assert "destinations" in done.stdout


def test_a_broken_configuration_completes_nothing_and_says_nothing(
    environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "oncopixel.toml").write_text("no = [toml", encoding="utf-8")
    assert asked(environment, "destinations", "echo", "--name", "") == []


@pytest.mark.skipif(SHELL is None, reason="bash is not installed")
def test_a_tab_in_a_real_bash_completes_the_name(environment: dict[str, str]) -> None:
    asked(environment, "dest")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    shell = subprocess.Popen(
        [str(SHELL), "--norc", "--noprofile", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**environment, "PS1": "ready> ", "TERM": "dumb"},
        start_new_session=True,
    )
    written = bytearray()

    def shows(pattern: bytes) -> bool:
        with suppress(BlockingIOError):
            written.extend(os.read(ours, 65536))
        return re.search(pattern, written) is not None

    try:
        wait_until(lambda: shows(b"ready> $"), 30, "no prompt")
        os.write(ours, b'eval "$(_ONCOPIXEL_COMPLETE=source_bash oncopixel)"; echo so""urced\n')
        wait_until(lambda: shows(rb"\nsourced\r?\n.*ready> $"), 60, "no function")
        os.write(ours, b"oncopixel destinations echo --name arc\t")
        wait_until(lambda: shows(rb"--name archive "), 60, f"no completion: {bytes(written)!r}")
    finally:
        shell.kill()
        shell.wait()
        os.close(ours)
        os.close(theirs)
