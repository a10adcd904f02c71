"""Writes ``docs/conformance-statement.md`` for the example configuration.

Run ``python -m tests.document_conformance``. A test holds the page against a fresh run.
"""

from __future__ import annotations

from pathlib import Path

from oncopixel_pacs.conformance.statement import statement
from oncopixel_pacs.settings import load_settings

ROOT = Path(__file__).parents[1]

if __name__ == "__main__":
    text = statement(load_settings(ROOT / "deploy" / "oncopixel.toml"), "(example)")
    (ROOT / "docs" / "conformance-statement.md").write_text(text, encoding="utf-8")
