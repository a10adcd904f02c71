"""The demonstration itself, with the archive that every machine has."""

from __future__ import annotations

from pathlib import Path

import pytest

from oncopixel_pacs.demo import archives
from oncopixel_pacs.demo.scenario import play, prepare_folder, running
from oncopixel_pacs.errors import ConfigurationError

pytestmark = pytest.mark.slow


def test_the_loop_closes_with_the_embedded_archive(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "_ORTHANC_PATHS", ())
    folder = tmp_path / "demo"
    prepare_folder(folder)
    said: list[str] = []

    with running(folder, 0, said.append) as (archive, ports):
        outcome = play(folder, archive, ports, seed=3, lesion=True, tell=said.append)

    assert archive.name == "embedded archive"
    assert sorted(item["kind"] for item in outcome.job["objects"]) == ["seg"] * 2 + ["sr"]
    assert len(outcome.received) == 3
    assert outcome.report.problems == ()
    assert [path.name for path in outcome.pictures] == [
        "R-CC.png",
        "L-CC.png",
        "R-MLO.png",
        "L-MLO.png",
    ]
    assert said[0] == "Starting the archive"
    assert "Validating the results" in said


def test_a_folder_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("three years")
    with pytest.raises(ConfigurationError, match="choose another with --out"):
        prepare_folder(tmp_path)
    assert (tmp_path / "thesis.txt").exists()


def test_its_own_folder_is_emptied(tmp_path: Path) -> None:
    prepare_folder(tmp_path / "demo")
    (tmp_path / "demo" / "old").touch()
    prepare_folder(tmp_path / "demo")
    assert not (tmp_path / "demo" / "old").exists()
