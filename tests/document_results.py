"""Writes ``docs/result-objects.md`` from what is really built.

Run ``python -m tests.document_results``. A test holds the page against a fresh run.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from pydicom.dataset import Dataset

from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.report import codes
from tests.report_builders import FOUR_VIEWS, case

PAGE = Path(__file__).parents[1] / "docs" / "result-objects.md"
KINDS = tuple(kind for kind in ObjectKind if kind is not ObjectKind.REJECTION)
TREES = {
    ObjectKind.SR: "The report (TID 1500)",
    ObjectKind.CAD_SR: "The CAD report (TID 4000)",
    ObjectKind.KOS: "The key objects (TID 2010)",
}
_FIXED = "fixed by its template or module"
_FURTHER_GROUPS = {
    **dict.fromkeys(("399162004", "399368009"), "CID 4014"),
    **dict.fromkeys(("24028007", "7771000"), "CID 244"),
    **dict.fromkeys(("73056007", "80248007"), "CID 6022"),
    **dict.fromkeys(("%", "mm", "mm2", "{pixels}"), "units of UCUM (CID 82)"),
}
_HEAD = """# Result objects, item by item

Written by `python -m tests.document_results` from what the product builds for two views of a right
breast with one finding each; a test compares. What they mean stands in [Results](results.md).
"""


def page() -> str:
    """Give the page: trees as dsrdump prints them, and every code that occurs."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        study = case(folder, {FOUR_VIEWS[0]: 1, FOUR_VIEWS[2]: 1})
        built = {item.kind: item for item in study.build(wanted=KINDS)}
        parts = [_HEAD]
        for kind, title in TREES.items():
            path = folder / f"{kind}.dcm"
            path.write_bytes(built[kind].part10)
            parts.append(f"## {title}\n\n```text\n{_tree(path)}\n```\n")
        parts.append(_code_table(item.dataset for item in study.build(wanted=KINDS)))
    return "\n".join(parts)


def _tree(path: Path) -> str:
    done = subprocess.run(
        ["dsrdump", "-Ph", str(path)], capture_output=True, text=True, check=False
    )
    lines = (done.stdout or "").splitlines()
    return "\n".join(line.rstrip() for line in lines).strip()


def _code_table(objects: Iterator[Dataset]) -> str:
    groups = _groups()
    found = {
        (str(item.CodingSchemeDesignator), str(item.CodeValue)): str(item.CodeMeaning)
        for dataset in objects
        for item in _coded(dataset)
    }
    rows = [
        f"| {scheme} | {value} | {meaning} | {groups.get(value, _FIXED)} |"
        for (scheme, value), meaning in sorted(found.items())
    ]
    head = "## Codes\n\n| scheme | code | meaning | context group |\n|---|---|---|---|\n"
    return head + "\n".join(rows) + "\n"


def _coded(dataset: Dataset) -> Iterator[Dataset]:
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                if "CodeValue" in item and "CodingSchemeDesignator" in item:
                    yield item
                yield from _coded(item)


def _groups() -> dict[str, str]:
    """Context groups as the comments beside the codes name them."""
    source = Path(str(codes.__file__)).read_text(encoding="utf-8")
    found = dict(_FURTHER_GROUPS)
    for line in source.splitlines():
        match = re.search(r'\("([^"]+)".*#\s*((?:CID|TID)[^#]*)$', line)
        if match:
            found[match[1]] = match[2].strip()
    return found


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
