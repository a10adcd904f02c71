"""The fault table of the documents: every row names tests, and they exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = 50


def fault_rows() -> dict[int, str]:
    """Cell of tests of each row, by its number."""
    text = (ROOT / "docs" / "robustness.md").read_text(encoding="utf-8")
    _, _, rest = text.partition("<!-- faults -->")
    table, _, _ = rest.partition("<!-- end of faults -->")
    rows = [line.strip("|").split("|") for line in table.splitlines() if re.match(r"\| \d", line)]
    return {int(cells[0]): cells[-1].strip() for cells in rows}


@cache
def named_in(path: Path) -> frozenset[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return frozenset(
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
    )


def test_the_table_has_every_fault_once() -> None:
    assert list(fault_rows()) == list(range(1, ROWS + 1))


@pytest.mark.parametrize("number", range(1, ROWS + 1))
def test_each_fault_names_tests_that_exist_or_says_why_not(number: int) -> None:
    cell = fault_rows()[number]
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", cell)
    assert named or cell.startswith("not tested: ")
    assert [
        f"{path}::{name}" for path, name in named if name not in named_in(ROOT / "tests" / path)
    ] == []
