"""Pulls as people and programs ask for them: rows, API, page, command line."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from api_builders import make_parts, serving
from builders import NOON, STUDY_UID, later
from conftest import Store
from typer.testing import CliRunner

from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.cli import app
from oncopixel_pacs.cli import pull as pull_command
from oncopixel_pacs.domain.pulls import PullState
from oncopixel_pacs.errors import NotFound
from oncopixel_pacs.settings import Settings
from oncopixel_pacs.store.pulls import Pulls

MINUTE = timedelta(minutes=1)
WANTED = {"study_instance_uid": STUDY_UID, "source": "archive"}
FROM_A_PROGRAM = {"X-Requested-With": "test"}
SOURCE = {
    "type": "orthanc",
    "name": "archive",
    "url": "http://127.0.0.1:9",
    "user": "onco",
    "password": "hush",
}


def make_pulling_parts(store: Store) -> ApiParts:
    settings = Settings(data_dir=store.files.data_dir, sources=(SOURCE,))  # type: ignore[arg-type]
    return make_parts(store, settings=settings)


# --- rows ---------------------------------------------------------------------------------------


def test_asking_twice_is_one_pull_until_it_has_ended(any_store: Store) -> None:
    pulls = Pulls(any_store.database)
    first = pulls.add("1.2", "archive", NOON)
    assert pulls.add("1.2", "archive", later(1)) == first
    assert pulls.add("1.2", "other", later(1)).id != first.id
    pulls.claim("host", later(2), MINUTE)
    pulls.finish(first.id, "host", PullState.DONE, later(3))
    assert pulls.add("1.2", "archive", later(4)).id != first.id


def test_many_who_ask_at_once_get_one_pull(store: Store) -> None:
    pulls = Pulls(store.database)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: pulls.add("1.2", "archive", NOON).id, range(8)))
    assert len(set(found)) == 1


def test_one_worker_has_a_pull_and_the_oldest_comes_first(any_store: Store) -> None:
    pulls = Pulls(any_store.database)
    first = pulls.add("1.2", "archive", NOON)
    second = pulls.add("1.3", "archive", later(1))
    claimed = [pulls.claim(name, later(2), MINUTE) for name in ("a", "b", "c")]
    assert [item and item.id for item in claimed] == [first.id, second.id, None]


def test_a_pull_whose_worker_fell_silent_is_taken_up_by_another(any_store: Store) -> None:
    pulls = Pulls(any_store.database)
    asked = pulls.add("1.2", "archive", NOON)
    pulls.claim("a", NOON, MINUTE)
    assert pulls.keep(asked.id, "a", later(50), MINUTE)
    assert pulls.claim("b", later(100), MINUTE) is None
    taken = pulls.claim("b", later(111), MINUTE)
    assert taken is not None
    assert taken.attempts == 2
    # The first one wakes up: it has no say any more.
    assert not pulls.keep(asked.id, "a", later(112), MINUTE)
    pulls.note(asked.id, "a", 9, 9)
    pulls.finish(asked.id, "a", PullState.FAILED, later(112), "Late.")
    assert pulls.pull(asked.id) == taken


def test_a_pull_that_failed_for_now_waits_for_its_time(any_store: Store) -> None:
    pulls = Pulls(any_store.database)
    asked = pulls.add("1.2", "archive", NOON)
    pulls.claim("a", NOON, MINUTE)
    pulls.put_off(asked.id, "a", "Away.", later(30))
    assert pulls.claim("a", later(29), MINUTE) is None
    waiting = pulls.pull(asked.id)
    assert (waiting.state, waiting.error) == (PullState.QUEUED, "Away.")
    assert pulls.claim("a", later(30), MINUTE) is not None


def test_pulls_are_paged_newest_first(any_store: Store) -> None:
    pulls = Pulls(any_store.database)
    ids = [pulls.add(f"1.{n}", "archive", later(n)).id for n in range(5)]
    page = pulls.pulls(limit=3)
    rest = pulls.pulls(limit=3, cursor=page.next_cursor)
    assert [item.id for item in (*page.items, *rest.items)] == ids[::-1]
    assert rest.next_cursor is None
    with pytest.raises(NotFound):
        pulls.pull("nothing")


# --- API ----------------------------------------------------------------------------------------


def test_a_program_asks_for_a_study_and_watches_it_come(store: Store) -> None:
    pulls = Pulls(store.database)
    with serving(make_pulling_parts(store)) as client:
        asked = client.post("/api/v1/studies", json=WANTED, headers=FROM_A_PROGRAM)
        assert asked.status_code == 202
        path = f"/api/v1/pulls/{asked.json()['id']}"
        assert client.get(path).json()["state"] == "queued"
        claimed = pulls.claim("host", NOON, MINUTE)
        assert claimed is not None
        pulls.note(claimed.id, "host", 4, 3)
        shown = client.get(path).json()
        assert (shown["state"], shown["expected"], shown["received"]) == ("running", 4, 3)
        assert client.get("/api/v1/pulls").json()["items"] == [shown]
        again = client.post("/api/v1/studies", json=WANTED, headers=FROM_A_PROGRAM).json()
        assert again["id"] == shown["id"]


REFUSED: list[tuple[dict[str, Any], dict[str, str], int]] = [
    ({**WANTED, "source": "elsewhere"}, FROM_A_PROGRAM, 404),
    ({**WANTED, "study_instance_uid": "../1"}, FROM_A_PROGRAM, 422),
    ({"source": "archive"}, FROM_A_PROGRAM, 422),
    (WANTED, {"Origin": "https://evil.example"}, 403),
]


@pytest.mark.parametrize(("body", "headers", "status"), REFUSED)
def test_a_request_that_cannot_be_met_is_refused(
    store: Store, body: dict[str, Any], headers: dict[str, str], status: int
) -> None:
    with serving(make_pulling_parts(store)) as client:
        assert client.post("/api/v1/studies", json=body, headers=headers).status_code == status
    assert Pulls(store.database).pulls().items == ()


def test_sources_are_listed_without_their_passwords(store: Store) -> None:
    with serving(make_pulling_parts(store)) as client:
        answer = client.get("/api/v1/sources")
    assert answer.json()["items"] == [
        {"name": "archive", "type": "orthanc", "address": "http://127.0.0.1:9"}
    ]
    assert "hush" not in answer.text


def test_the_page_asks_for_a_study_and_shows_its_progress(store: Store) -> None:
    pulls = Pulls(store.database)
    own = {"Sec-Fetch-Site": "same-origin"}
    with serving(make_pulling_parts(store)) as client:
        assert client.post("/pulls", data=WANTED, headers=own).status_code == 303
        claimed = pulls.claim("host", NOON, MINUTE)
        assert claimed is not None
        pulls.note(claimed.id, "host", 4, 3)
        page = client.get("/pulls").text
        assert '<progress value="3" max="4">' in page
        assert "hush" not in page
        odd = {**WANTED, "study_instance_uid": "<script>"}
        assert client.post("/pulls", data=odd, headers=own).status_code == 409
        assert client.post("/pulls", data=WANTED).status_code == 403


# --- command line -------------------------------------------------------------------------------


@pytest.fixture
def configured(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pulls:
    """Configure a source for the commands, and the database of `store`."""
    config = tmp_path / "oncopixel.toml"
    config.write_text(
        f'data_dir = "{tmp_path}"\n[[sources]]\nname = "archive"\ntype = "orthanc"\n'
        'url = "http://127.0.0.1:9"\n[pull]\ntimeout_seconds = 1\n'
    )
    monkeypatch.setenv("ONCOPIXEL_CONFIG", str(config))
    monkeypatch.setattr(pull_command, "_POLL_SECONDS", 0.01)
    return Pulls(store.database)


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words), catch_exceptions=False, env={"COLUMNS": "200"})
    return done.exit_code, done.output


def test_the_command_puts_a_pull_into_the_queue(configured: Pulls) -> None:
    status, said = run("pull", "1.2.3", "--from", "archive", "--no-wait")
    assert status == 0
    assert "is queued" in said
    (asked,) = configured.pulls().items
    assert (asked.study_instance_uid, asked.source) == ("1.2.3", "archive")


@pytest.mark.parametrize(
    ("state", "received", "status", "sentence"),
    [
        (PullState.DONE, 4, 0, "4 of 4 objects of 1.2.3 are here."),
        (PullState.PARTIAL, 3, 1, "3 of 4 objects of 1.2.3 are here. It broke off."),
        (PullState.FAILED, 0, 1, "0 of 4 objects of 1.2.3 are here. It broke off."),
    ],
)
def test_the_command_waits_and_says_what_came(
    configured: Pulls,
    monkeypatch: pytest.MonkeyPatch,
    state: PullState,
    received: int,
    status: int,
    sentence: str,
) -> None:
    def work_while_it_waits(_seconds: float) -> None:
        claimed = configured.claim("host", later(1), MINUTE)
        assert claimed is not None
        configured.note(claimed.id, "host", 4, received)
        error = "" if state is PullState.DONE else "It broke off."
        configured.finish(claimed.id, "host", state, later(2), error)

    monkeypatch.setattr(pull_command.time, "sleep", work_while_it_waits)
    configured.add("1.2.3", "archive", NOON)
    ended, said = run("pull", "1.2.3", "--from", "archive")
    assert (ended, sentence in said) == (status, True)


def test_the_command_refuses_what_makes_no_sense(configured: Pulls) -> None:
    assert run("pull", "1.2.3", "--from", "elsewhere")[0] == 2
    assert run("pull", "not-a-uid", "--from", "archive")[0] == 2
    assert configured.pulls().items == ()


def test_sources_are_listed_and_echoed(configured: Pulls) -> None:
    assert "http://127.0.0.1:9" in run("sources", "list")[1]
    status, said = run("sources", "echo")
    assert status == 1
    assert "archive (http://127.0.0.1:9): it cannot be reached" in said
