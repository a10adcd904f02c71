"""Writes ``docs/metrics.md`` from the metrics that are really exported.

Run ``python -m tests.document_metrics``. A test holds the page against a fresh run.
"""

from __future__ import annotations

from pathlib import Path

from oncopixel_pacs.metrics.catalogue import ALL, Metric, Source

PAGE = Path(__file__).parents[1] / "docs" / "metrics.md"
_HEAD = """# Metrics, one by one

Written by `python -m tests.document_metrics` from what the server exports; a test compares. How
they are read, and what to make of them, stands in [Operations](operations.md#metrics).

Labels hold names from the configuration or words of a fixed list, and for drift the AE titles of
those who sent hundreds of studies; no metric tells of a patient or a study.
"""
_TITLES = {
    Source.PROCESS: "What each process counts",
    Source.STATE: "How the whole stands",
}
_WORDS = {
    Source.PROCESS: "From its start on, so take `rate` or `increase`, and sum over processes. "
    "Beside them stand `process_*` and `python_*` of the client library.",
    Source.STATE: "Read from database and disk when asked, by each process with the role `api`: "
    "take `max`, not `sum`, where there are several.",
}


def document() -> str:
    """Return the page."""
    parts = [_HEAD]
    for source, title in _TITLES.items():
        rows = [_row(item) for item in ALL if item.source is source]
        head = ["| metric | kind | labels | meaning |", "|---|---|---|---|"]
        parts.append("\n".join([f"## {title}\n\n{_WORDS[source]}\n", *head, *rows]) + "\n")
    return "\n".join(parts)


def _row(item: Metric) -> str:
    labels = ", ".join(f"`{label}`" for label in item.labels)
    return f"| `{item.name}` | {item.kind.value} | {labels} | {item.help} |"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
