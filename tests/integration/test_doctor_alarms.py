"""`oncopixel doctor` says what the running server's pages say."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from api_builders import fail, receive, receive_other_content
from conftest import Store
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.opening import utc_now
from oncopixel_pacs.store.installation import Backups


@pytest.fixture
def doctor(store: Store, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("ONCOPIXEL_DATA_DIR", str(store.files.data_dir))
    monkeypatch.setenv(
        "ONCOPIXEL_DATABASE_URL", store.database.engine.url.render_as_string(hide_password=False)
    )
    for name, value in (("DIMSE_PORT", "0"), ("HTTP_PORT", "0"), ("RECEIVE__LEAST_FREE_BYTES", 0)):
        monkeypatch.setenv(f"ONCOPIXEL_{name}", str(value))
    return lambda: json.loads(CliRunner().invoke(app, ["doctor", "--json"]).stdout)


def test_all_is_well_while_no_alarm_stands(store: Store, doctor: Any) -> None:
    receive(store)
    assert doctor()["ready"]


def test_each_alarm_is_a_check_that_is_not_ok(store: Store, doctor: Any) -> None:
    fail(store)
    receive_other_content(store)
    Backups(store.database).note_made(utc_now() - timedelta(days=20))
    found = doctor()
    assert not found["ready"]
    said = [item["detail"] for item in found["checks"] if item["name"] == "alarm"]
    assert [words.split(" ")[0:3] for words in said] == [
        ["Images", "came", "again"],
        ["The", "last", "backup"],
        ["1", "job", "failed;"],
    ]
