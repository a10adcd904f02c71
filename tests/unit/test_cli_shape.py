"""What holds for every command: JSON where a script would read it, and mistakes that help."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from oncopixel_pacs import cli
from oncopixel_pacs.cli import app

#: Commands without ``--json``, and why.
WITHOUT_JSON = {
    "serve": "runs until it is stopped; the API tells how it goes",
    "demo": "a show for people",
    "samples": "writes files; its status says whether it did",
    "conformance": "writes a document in Markdown",
    "models add": "prints a table of TOML to paste",
    "viewer install": "its status says whether it did",
    "users add": "its status says whether it did",
    "users role": "its status says whether it did",
    "users password": "its status says whether it did",
    "users remove": "its status says whether it did",
    "tokens revoke": "its status says whether it did",
}


def commands(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every command by its words."""
    for word, command in tree.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, f"{prefix}{word} ")
        else:
            yield f"{prefix}{word}", command


def test_every_command_prints_json_or_has_a_reason_not_to() -> None:
    found = dict(commands(typer.main.get_command(app)))
    with_json = {
        name
        for name, command in found.items()
        if any("--json" in getattr(item, "opts", ()) for item in command.params)
    }
    assert found.keys() - with_json == WITHOUT_JSON.keys()
    assert len(with_json) > 20


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "oncopixel.toml"
    path.write_text(
        """data_dir = "data"
dimse_port = 0
http_port = 0
[receive]
least_free_bytes = 0
[retention]
days = 30
[[destinations]]
name = "archive"
type = "folder"
path = "out"
[[sources]]
name = "pacs"
type = "orthanc"
url = "http://127.0.0.1:9"
password = "hush"
user = "me"
""",
        encoding="utf-8",
    )
    return path


def run(config: Path, *words: str, status: int = 0) -> Any:
    result = CliRunner().invoke(app, [*words, "-c", str(config), "--json"])
    assert result.exit_code == status, result.output
    assert "hush" not in result.output
    return json.loads(result.stdout)


def test_lists_and_checks_are_one_document_each(config: Path) -> None:
    (destination,) = run(config, "destinations", "list")
    assert destination["name"] == "archive"
    assert destination["objects"] == ["seg", "sr"]
    assert run(config, "destinations", "echo")["archive"]["ok"] is True
    (source,) = run(config, "sources", "list")
    assert source == {"name": "pacs", "type": "orthanc", "address": "http://127.0.0.1:9"}
    assert run(config, "sources", "echo", status=1)["pacs"]["ok"] is False
    assert {item["mode"] for item in run(config, "models", "list")} == {"active"}
    doctor = run(config, "doctor", status=1)
    assert doctor["ready"] is False
    assert {"database", "disk", "destination archive"} <= {i["name"] for i in doctor["checks"]}
    assert [i["name"] for i in doctor["checks"] if not i["ok"]] == ["source pacs"]
    assert run(config, "audit", "verify")["fault"] == ""
    assert run(config, "viewer", "status", status=1)["folder"] is None
    for group in ("studies", "jobs", "users", "tokens"):
        assert run(config, group, "list") == []
    assert run(config, "retention", "apply") == []
    token = run(config, "tokens", "create", "app")
    assert len(token["token"]) > 20
    assert (token["name"], token["role"]) == ("app", "viewer")


def test_a_backup_tells_itself_to_scripts(config: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "backup")
    run(config, "users", "list")  # makes the database
    assert run(config, "backup", place)["files"] == 0
    assert run(config, "restore", place, "--check") == {"whole": True, "damaged": []}
    next(Path(place).glob("database-*")).write_bytes(b"other")
    assert run(config, "restore", place, "--check", status=1)["whole"] is False


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        (["destinatons"], "destinations"),
        (["jobs", "lst"], "list"),
        (["jobs", "list", "--jsn"], "--json"),
        (["destinations", "echo", "--name", "archve"], "archive"),
        (["sources", "echo", "--name", "pcs"], "pacs"),
        (["pull", "1.2", "--from", "pcs"], "pacs"),
    ],
)
def test_a_mistyped_word_is_answered_with_the_one_that_was_meant(
    config: Path, words: list[str], meant: str
) -> None:
    result = CliRunner().invoke(app, words, env={"ONCOPIXEL_CONFIG": str(config)})
    assert result.exit_code == 2
    assert meant in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("dimse_prt = 1", "dimse_port"),
        ("[delivery]\nfirst_retry = 1", "first_retry_seconds"),
        ('[[destinations]]\nname = "a"\ntype = "folder"\npth = "x"', "path"),
    ],
)
def test_a_mistyped_setting_is_answered_with_the_one_that_was_meant(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    text: str,
    meant: str,
) -> None:
    path = tmp_path / "oncopixel.toml"
    path.write_text(text, encoding="utf-8")
    assert f"(did you mean {meant}?)" in said_by(
        monkeypatch, capsys, "doctor", "--config", str(path)
    )


def test_a_place_that_cannot_be_written_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    out = str(tmp_path / "file" / "out")
    said = said_by(monkeypatch, capsys, "samples", "--out", out, "--rows", "128")
    assert said.startswith("oncopixel: ")
    assert out in said


def said_by(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
) -> str:
    """Run the program; it must fail with one sentence on standard error."""
    monkeypatch.setattr("sys.argv", ["oncopixel", *words])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    output = capsys.readouterr()
    assert (ended.value.code, output.out) == (1, "")
    assert "Traceback" not in output.err
    assert len(output.err.splitlines()) == 1
    return output.err
