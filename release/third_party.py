"""Licences of what the product brings along, from the metadata of what is installed.

``python -m release.third_party`` writes the page; ``texts`` gives the full licences.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "THIRD_PARTY_LICENSES.md"
LOCK = ROOT / "requirements.lock"

_HEAD = """# Licences of third parties

What a server or a training of OncoPixel PACS runs with, at its locked versions, and under which
terms its makers publish it. Made by `make licences` from the packages' own metadata. None of them
is in the wheel; each release comes with all their texts in one file.

| package | version | licence |
|---|---|---|
"""

_TAIL = """
Programs of their own that may run beside it: OHIF is under the MIT licence, Orthanc under
GPL-3.0-or-later and its DICOMweb plugin under AGPL-3.0-or-later, PostgreSQL under the PostgreSQL
licence, nginx under BSD-2-Clause, Prometheus under Apache-2.0, Grafana under AGPL-3.0. The weights
of the shipped models carry terms of their own: see [NOTICE](NOTICE).
"""


def locked_names(lock: Path = LOCK) -> list[str]:
    """Names of the packages in a lock file, with torch, which is installed before it."""
    lines = lock.read_text(encoding="utf-8").splitlines()
    return sorted(
        [_canonical(line.partition("==")[0]) for line in lines if "==" in line] + ["torch"]
    )


def _canonical(name: str) -> str:
    """Write a package's name as PEP 503 does."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _licences(*options: str) -> list[dict[str, Any]]:
    command = [sys.executable, "-m", "piplicenses", "--from=mixed", "--format=json", *options]
    answer = subprocess.run(  # noqa: S603
        [*command, "--packages", *locked_names()], capture_output=True, text=True, check=True
    )
    found: list[dict[str, Any]] = json.loads(answer.stdout)
    return sorted(found, key=lambda item: str(item["Name"]).lower())


def table() -> dict[str, tuple[str, str]]:
    """Version and licence of every locked package, by its canonical name (PEP 503)."""
    return {
        _canonical(item["Name"]): (
            # torch: 2.13.0+cpu and 2.13.0+cu130 are one version.
            str(item["Version"]).partition("+")[0],
            str(item["License"]),
        )
        for item in _licences()
    }


def page() -> str:
    """Write the page: what is locked, its version, its licence."""
    rows = [f"| {name} | {version} | {terms} |" for name, (version, terms) in table().items()]
    return _HEAD + "\n".join(rows) + "\n" + _TAIL


def texts() -> str:
    """Give the full licences and notices of every locked package, one after the other."""
    parts = []
    for item in _licences("--with-license-file", "--with-notice-file", "--no-license-path"):
        parts.append(f"{'=' * 80}\n{item['Name']} {item['Version']}: {item['License']}\n")
        for text in (item["LicenseText"], item.get("NoticeText", "")):
            if text and text != "UNKNOWN":
                parts.append(text.strip() + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
