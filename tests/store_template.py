"""An empty database as the migrations leave it, made once and copied for each store of a test."""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

from sqlalchemy import make_url

from oncopixel_pacs.store.database import Database, open_database


def open_prepared(url: str) -> Database:
    """Open a database; a new embedded one is a copy of the template, at the last migration."""
    path = Path(make_url(url).database or "")
    if url.startswith("sqlite") and not path.exists():
        path.write_bytes(_migrated())
    return open_database(url)


@cache
def _migrated() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.sqlite"
        open_database(f"sqlite:///{path}").close()
        return path.read_bytes()
