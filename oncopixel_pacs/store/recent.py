"""Ids for the shell to complete: read with the driver alone, in milliseconds, and never written."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from urllib.parse import quote

#: Statements by what they name. Newest first: that is what is asked about.
_STATEMENTS = {
    "job": "SELECT id FROM job ORDER BY created_at DESC LIMIT 200",
    "study": "SELECT study_instance_uid FROM study ORDER BY first_received_at DESC LIMIT 200",
    "user": "SELECT name FROM user_account ORDER BY name LIMIT 200",
    "token": "SELECT id FROM api_token ORDER BY created_at DESC LIMIT 200",
}
_SQLITE = "sqlite:///"
_WAIT_SECONDS = 1


def recent(database_url: str, what: str) -> list[str]:
    """List ids, the newest first; nothing when the database does not say at once.

    Parameters
    ----------
    what
        ``job``, ``study``, ``user`` or ``token``.
    """
    statement = _STATEMENTS[what]
    if database_url.startswith(_SQLITE):
        return _from_file(Path(database_url.removeprefix(_SQLITE)), statement)
    return _from_server(database_url, statement)


def _from_file(path: Path, statement: str) -> list[str]:
    try:
        place = f"file:{quote(str(path))}?mode=ro"
        connection = sqlite3.connect(place, uri=True, timeout=_WAIT_SECONDS)
        try:
            return [str(row[0]) for row in connection.execute(statement)]
        finally:
            connection.close()
    except sqlite3.Error:
        return []


def _from_server(database_url: str, statement: str) -> list[str]:
    import psycopg

    scheme, _, place = database_url.partition("://")
    url = f"{scheme.partition('+')[0]}://{place}"
    try:
        with psycopg.connect(url, connect_timeout=_WAIT_SECONDS) as connection:
            return [str(row[0]) for row in connection.execute(statement)]
    except psycopg.Error:
        return []
