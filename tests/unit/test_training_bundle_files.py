"""A bundle takes its place whole, and once it is proved."""

from __future__ import annotations

from pathlib import Path

import pytest

from oncopixel_pacs.errors import ConfigurationError
from training.bundle_files import new_bundle


def write(folder: Path, content: str) -> None:
    with new_bundle(folder) as made:
        (made / "configs" / "metadata.json").write_text(content, encoding="ascii")


def content(folder: Path) -> str:
    return (folder / "configs" / "metadata.json").read_text(encoding="ascii")


def test_a_bundle_that_is_not_proved_leaves_the_one_of_before(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    write(bundle, "before")

    with pytest.raises(ConfigurationError), new_bundle(bundle) as made:
        (made / "configs" / "metadata.json").write_text("after", encoding="ascii")
        assert content(bundle) == "before"
        raise ConfigurationError("It does not answer as it should.")

    assert content(bundle) == "before"
    write(bundle, "after")
    assert content(bundle) == "after"
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_folder_of_something_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images" / "1.dcm").touch()
    with pytest.raises(ConfigurationError, match="something else than a bundle"):
        write(tmp_path / "images", "new")
    assert (tmp_path / "images" / "1.dcm").is_file()
    (tmp_path / "empty").mkdir()
    write(tmp_path / "empty", "new")
    assert content(tmp_path / "empty") == "new"
