"""Liveness and readiness: what a supervisor is told, and when."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from api_builders import JOB, finish, make_parts, serving
from conftest import Store

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.accounts import Accounts
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.database import open_database

#: That answer requests, by anyio's own limit.
THREADS = 40


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


def test_it_says_that_it_lives_while_every_thread_waits(store: Store) -> None:
    # As for a database that is silent, or for pictures that many readers ask for at once.
    released, waiting = threading.Event(), threading.Semaphore(0)

    def exposition() -> bytes:
        waiting.release()
        released.wait(30)
        return b""

    with (
        serving(replace(make_parts(store), exposition=exposition)) as client,
        ThreadPoolExecutor(THREADS) as askers,
    ):
        try:
            for _ in range(THREADS):
                askers.submit(client.get, "/metrics")
            for _ in range(THREADS):
                assert waiting.acquire(timeout=20)
            with httpx.Client(base_url=client.base_url, timeout=5, trust_env=False) as supervisor:
                assert supervisor.get("/health/live").status_code == 200
        finally:
            released.set()


def test_head_answers_what_get_does_without_its_content(store: Store) -> None:
    finish(store)
    with serving(make_parts(store)) as client:
        for path in ("/health/live", "/", "/api/v1/models", f"/api/v1/jobs/{JOB}", "/openapi.json"):
            asked, told = client.head(path), client.get(path)
            assert asked.status_code == told.status_code == 200, path
            assert asked.headers["content-type"] == told.headers["content-type"]
            assert asked.headers.get("etag") == told.headers.get("etag")
            assert asked.content == b""
        assert client.head("/api/v1/events").status_code == 405
        assert client.head("/api/v1/jobs/none").status_code == 404
