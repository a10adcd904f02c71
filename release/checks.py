"""What must hold before a version may be published."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

RELEASE = re.compile(r"\d+\.\d+\.\d+((a|b|rc)\d+)?")


def git(root: Path, *arguments: str) -> str:
    """Ask git something about the checkout at `root`."""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()  # noqa: S603


def obstacles(root: Path, version: str) -> Iterator[str]:
    """Tell in sentences what stands in the way of publishing `root` as `version`.

    Parameters
    ----------
    root
        The checkout, with its git history.
    version
        Version that the distributions carry, from setuptools-scm.

    Yields
    ------
    str
        One sentence for each obstacle, with what to do; nothing when it may be published.
    """
    if changed := git(root, "status", "--porcelain"):
        yield f"{len(changed.splitlines())} files differ from the last commit; commit them."
    if not RELEASE.fullmatch(version):
        yield f"{version} is no released version; tag the commit, such as `git tag v1.2.3`."
        return
    if f"v{version}" not in git(root, "tag", "--points-at", "HEAD").split():
        yield f"The commit does not carry the tag v{version}; tag it."
    if not re.search(rf"^## {re.escape(version)}\b", _changes(root), re.MULTILINE):
        yield f"CHANGELOG.md has no head `## {version}`; rename the head of what is unreleased."


def _changes(root: Path) -> str:
    return (root / "CHANGELOG.md").read_text(encoding="utf-8")
