"""Liveness and readiness: what a supervisor is told, and when."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from api_builders import make_parts, serving
from conftest import Store

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import open_database


@contextmanager
def without_folder(store: Store) -> Iterator[None]:
    """Take the data directory away, as an unmounted volume does."""
    aside = store.files.data_dir.with_name("aside")
    shutil.move(store.files.data_dir, aside)
    try:
        yield
    finally:
        shutil.move(aside, store.files.data_dir)


def test_a_server_that_can_work_is_ready_and_says_what_it_looked_at(store: Store) -> None:
    with serving(make_parts(store)) as client:
        ready = client.get("/health/ready")
    assert ready.status_code == 200
    assert {check["name"]: check["ok"] for check in ready.json()["checks"]} == {
        "database": True,
        "disk": True,
        "models": True,
    }


@pytest.mark.parametrize(("loaded", "status"), [(True, 200), (None, 200), (False, 503)])
def test_models_that_are_not_loaded_here_make_a_server_unready(
    store: Store, loaded: bool | None, status: int
) -> None:
    with serving(make_parts(store, models_ready=lambda: loaded)) as client:
        assert client.get("/health/ready").status_code == status


def test_an_unready_server_gives_its_reasons_and_is_still_alive(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def locked(_self: Catalogue) -> None:
        raise OutOfResources("The database does not take a write now.")

    monkeypatch.setattr(Catalogue, "check_writable", locked)
    with serving(make_parts(store, models_ready=lambda: False)) as client:
        ready = client.get("/health/ready")
        alive = client.get("/health/live")
    assert ready.status_code == 503
    assert ready.headers["content-type"] == "application/problem+json"
    assert "The database does not take a write now. The models" in ready.json()["detail"]
    failed = [check["name"] for check in ready.json()["checks"] if not check["ok"]]
    assert failed == ["database", "models"]
    assert alive.json() == {"status": "alive"}


def test_a_volume_that_is_gone_makes_a_server_unready(store: Store) -> None:
    with serving(make_parts(store)) as client:
        assert client.get("/health/ready").status_code == 200
        with without_folder(store):
            ready = client.get("/health/ready")
    assert ready.status_code == 503
    assert "does not take a file" in ready.json()["detail"]


def test_a_database_that_is_gone_makes_a_server_unready_before_it_knows_who_asks(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_self: Accounts) -> bool:
        raise OutOfResources("The database cannot be read now.")

    monkeypatch.setattr(Accounts, "any", gone)
    with serving(make_parts(store)) as client:
        ready = client.get("/health/ready")
    assert ready.status_code == 503
    assert ready.json()["detail"] == "The database cannot be read now."


def test_a_locked_database_makes_a_server_unready(store: Store, tmp_path: Path) -> None:
    impatient = open_database(f"sqlite:///{tmp_path / 'oncopixel.sqlite'}", busy_timeout_ms=1)
    parts = make_parts(store, catalogue=Catalogue(impatient))
    with closing(impatient), serving(parts) as client:
        with store.database.write():
            locked = client.get("/health/ready")
        free = client.get("/health/ready")
    assert (locked.status_code, free.status_code) == (503, 200)
    assert "The database does not take a write" in locked.json()["detail"]
