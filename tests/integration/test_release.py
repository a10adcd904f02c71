"""A release: version from the tag, a wheel that works alone, licences, papers that hold."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from release_builder import ROOT, build_wheel, clone, git, install, run

from release.checks import obstacles
from release.third_party import PAGE, locked_names, table

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        shutil.which("git") is None or not (ROOT / ".git").exists(), reason="needs a git checkout"
    ),
]
#: What a lawyer lets through without asking: no GPL, no AGPL, nothing unknown.
ACCEPTED = {
    "0BSD", "Apache License 2.0", "Apache Software License", "Apache-2.0", "BSD License",
    "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC0-1.0", "ISC License (ISCL)", "LGPL-3.0-only",
    "GNU Lesser General Public License v3 (LGPLv3)",
    "GNU Library or Lesser General Public License (LGPL)",
    "LLVM-exception", "MIT", "MIT License", "MIT-0", "MIT-CMU", "MPL-2.0",
    "Mozilla Public License 2.0 (MPL 2.0)", "OFL-1.1", "PSF-2.0",
    "Python Software Foundation License", "Zlib", "zlib/libpng License",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """A tagged clone, and the wheel that came of it."""

    checkout: Path
    wheel: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    checkout = clone(tmp_path_factory.mktemp("clone"))
    git(checkout, "tag", "v9.8.7")
    return Made(checkout, build_wheel(checkout, tmp_path_factory.mktemp("dist")))


def version_in(checkout: Path) -> str:
    return run(sys.executable, "-m", "setuptools_scm", cwd=checkout).strip().splitlines()[-1]


def test_the_tag_is_the_version_and_the_wheel_alone_plays_the_demonstration(
    made: Made, tmp_path: Path
) -> None:
    assert made.wheel.name == "oncopixel_pacs-9.8.7-py3-none-any.whl"
    programs = install(made.wheel, tmp_path / "environment")
    folder = tmp_path / "empty"
    folder.mkdir()

    assert run(programs / "oncopixel", "--version", cwd=folder).strip() == "9.8.7"
    where = "import oncopixel_pacs; print(oncopixel_pacs.__file__)"
    assert run(programs / "python", "-c", where, cwd=folder).startswith(str(tmp_path))
    said = run(programs / "oncopixel", "demo", "--no-keep", cwd=folder)

    assert "Results found in the archive" in said
    assert "SEG" in said
    assert "SR" in said
    assert "no error" in said
    assert len(list(folder.glob("oncopixel-demo/pictures/*.png"))) == 4


def test_the_wheel_carries_its_licences_and_nothing_of_tests(made: Made) -> None:
    with zipfile.ZipFile(made.wheel) as archive:
        names = archive.namelist()
    (meta,) = {name.partition("/")[0] for name in names if ".dist-info/" in name}
    assert {f"{meta}/licenses/LICENSE", f"{meta}/licenses/NOTICE"} <= set(names)
    assert {name.partition("/")[0] for name in names} == {
        meta,
        "oncopixel_pacs",
        "sample_dicom",
        "training",
    }


def test_commits_after_a_tag_show(made: Made, tmp_path: Path) -> None:
    later = tmp_path / "later"
    git(tmp_path, "clone", "--quiet", str(made.checkout), "later")
    assert version_in(later) == "9.8.7"
    (later / "README.md").write_text("changed")
    git(later, "commit", "--quiet", "--all", "--message", "More")
    assert version_in(later).startswith("9.8.8.dev1+g")


def test_a_clone_without_tags_has_a_version(made: Made, tmp_path: Path) -> None:
    git(tmp_path, "clone", "--quiet", "--no-tags", str(made.checkout), "untagged")
    assert version_in(tmp_path / "untagged").startswith("0.1.dev1+g")


def test_sources_without_history_have_a_version(made: Made, tmp_path: Path) -> None:
    shutil.copy(made.checkout / "pyproject.toml", tmp_path)
    assert version_in(tmp_path) == "0.1.dev0"


def test_only_a_clean_tagged_commit_with_its_changes_told_is_released(made: Made) -> None:
    checkout = made.checkout
    (untold,) = obstacles(checkout, "9.8.7")
    assert "CHANGELOG.md has no head `## 9.8.7`" in untold

    changes = checkout / "CHANGELOG.md"
    before = changes.read_text(encoding="utf-8")
    changes.write_text("## 9.8.7 (2026-11-21)\n", encoding="utf-8")
    (changed,) = obstacles(checkout, "9.8.7")
    assert changed.startswith("1 files differ")

    git(checkout, "commit", "--quiet", "--all", "--message", "Release")
    (untagged,) = obstacles(checkout, "9.8.7")
    assert "does not carry the tag v9.8.7" in untagged
    (unreleased,) = obstacles(checkout, "9.8.8.dev1+g12345678")
    assert "is no released version" in unreleased

    git(checkout, "tag", "--force", "v9.8.7")
    assert list(obstacles(checkout, "9.8.7")) == []
    changes.write_text(before, encoding="utf-8")


def test_the_page_of_licences_is_what_is_locked_and_all_are_accepted() -> None:
    stated = table()
    rows = [
        tuple(cell.strip() for cell in line.strip("|").split("|"))
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line.startswith("| ") and not line.startswith("| package")
    ]
    assert rows == [(name, *rest) for name, rest in stated.items()], "run `make licences`"
    assert sorted(stated) == sorted(locked_names()), "a locked package is not installed"

    for name, (_, terms) in stated.items():
        choices = [re.split(r" AND | WITH |; ", choice) for choice in terms.split(" OR ")]
        fine = [ACCEPTED.issuperset(choice) for choice in choices]
        assert any(fine), f"{name} is under {terms}"


def test_the_citation_file_is_valid() -> None:
    subprocess.run(
        [sys.executable, "-m", "check_jsonschema", "--builtin-schema",
         "vendor.citation-file-format", str(ROOT / "CITATION.cff")],
        check=True,
        capture_output=True,
    )  # fmt: skip
