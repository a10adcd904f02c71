"""``oncopixel users`` and ``tokens``: who may come in, from the shell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from oncopixel_pacs.cli import app
from oncopixel_pacs.domain.access import AccessRole, Area
from oncopixel_pacs.opening import open_store, utc_now
from oncopixel_pacs.passwords import is_password
from oncopixel_pacs.settings import load_settings
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.api_tokens import ApiTokens


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "oncopixel.toml"
    path.write_text('data_dir = "data"\n')
    return path


def run(config: Path, *words: str, said: str = "", status: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "-c", str(config)], input=said)
    assert result.exit_code == status, result.output
    return result.stdout


def test_users_are_added_changed_and_removed(config: Path) -> None:
    run(config, "users", "add", "jane", "--password-stdin", said="four words that rhyme\n")
    run(config, "users", "role", "jane", "admin")
    run(config, "users", "password", "jane", "--password-stdin", said="five other words, longer\n")
    (row,) = json.loads(run(config, "users", "list", "--json"))
    assert (row["name"], row["role"]) == ("jane", "admin")
    assert "password_hash" not in row
    assert "jane" in run(config, "users", "list")
    store = open_store(load_settings(config))
    user = Accounts(store.database).user("jane")
    store.database.close()
    assert user is not None
    assert is_password("five other words, longer", user.password_hash)
    run(
        config, "users", "add", "jane", "--password-stdin", said="four words that rhyme\n", status=1
    )
    run(config, "users", "remove", "jane")
    assert json.loads(run(config, "users", "list", "--json")) == []
    run(config, "users", "remove", "jane", status=1)


def test_a_short_password_is_refused(config: Path) -> None:
    run(config, "users", "add", "jane", "--password-stdin", said="short\n", status=1)


def test_a_token_is_printed_once_and_revoked(config: Path) -> None:
    words = ["--role", "operator", "--area", "upload", "--days", "30"]
    secret = run(config, "tokens", "create", "app", *words).strip().splitlines()[-1]
    assert secret.startswith("opx_")
    listed = run(config, "tokens", "list", "--json")
    assert secret not in listed
    (row,) = json.loads(listed)
    assert (row["role"], row["areas"]) == ("operator", ["upload"])
    store = open_store(load_settings(config))
    caller = ApiTokens(store.database).caller_of(secret, utc_now())
    store.database.close()
    assert caller is not None
    assert (caller.role, caller.areas) == (AccessRole.OPERATOR, (Area.UPLOAD,))
    assert row["id"] in run(config, "tokens", "list")
    run(config, "tokens", "revoke", row["id"])
    assert json.loads(run(config, "tokens", "list", "--json")) == []
