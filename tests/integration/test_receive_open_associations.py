"""Who is on the line is known to other processes, and a listener that died holds nobody up."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from builders import NOON, later
from conftest import Store
from dimse_builder import association, mammogram, reception, until, utc_now

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.receive import open_associations
from oncopixel_pacs.receive.open_associations import AssociationWatch
from oncopixel_pacs.store.associations import AssociationLeases


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(open_associations, "POLL_SECONDS", 0.02)


def test_an_open_association_is_told_while_it_lasts(tmp_path: Path) -> None:
    with reception(tmp_path) as server:
        leases = AssociationLeases(server.database)
        watch = AssociationWatch(leases, lambda: server.scp.callers, utc_now)
        watch.start()
        with association(server.port, calling="MAMMO1") as assoc:
            assoc.send_c_store(mammogram())
            until(lambda: leases.open_until().get("MAMMO1", NOON) > utc_now())
        until(lambda: leases.open_until()["MAMMO1"] <= utc_now(), 5)
        watch.stop()


def test_two_associations_of_one_caller_count_until_the_last_is_closed(tmp_path: Path) -> None:
    with reception(tmp_path) as server:
        with association(server.port, calling="MAMMO1"):
            with association(server.port, calling="MAMMO1"):
                until(lambda: server.scp.callers == {"MAMMO1"})
            assert server.scp.callers == {"MAMMO1"}
        until(lambda: server.scp.callers == frozenset())
    assert server.scp.callers == frozenset()


def test_a_listener_that_stops_leaves_nobody_on_the_line(store: Store) -> None:
    leases = AssociationLeases(store.database)
    watch = AssociationWatch(leases, lambda: {"MAMMO1"}, utc_now)
    watch.start()
    until(lambda: leases.open_until().get("MAMMO1", NOON) > utc_now())
    watch.stop()
    assert leases.open_until()["MAMMO1"] <= utc_now()


def test_a_lease_is_renewed_and_runs_out_when_nobody_renews_it(store: Store) -> None:
    clock = [NOON]

    def now() -> datetime:
        return clock[0]

    leases = AssociationLeases(store.database)
    watch = AssociationWatch(leases, lambda: {"MAMMO1"}, now)
    watch.start()
    until(lambda: leases.open_until() == {"MAMMO1": later(15)})
    clock[0] = later(10)
    until(lambda: leases.open_until() == {"MAMMO1": later(25)})
    # As a listener that was killed leaves it.
    assert leases.open_until()["MAMMO1"] - clock[0] <= timedelta(seconds=15)
    watch.stop()


def test_the_last_word_of_any_listener_counts(any_store: Store) -> None:
    leases = AssociationLeases(any_store.database)
    leases.set("one", ["MAMMO1"], later(30), NOON)
    leases.set("two", ["MAMMO1", "MAMMO2"], later(20), NOON)
    assert leases.open_until() == {"MAMMO1": later(30), "MAMMO2": later(20)}
    leases.set("one", ["MAMMO1"], later(5), NOON)
    assert leases.open_until() == {"MAMMO1": later(20), "MAMMO2": later(20)}


def test_what_ended_days_ago_is_forgotten(any_store: Store) -> None:
    leases = AssociationLeases(any_store.database)
    leases.set("one", ["MAMMO1"], NOON, NOON)
    leases.set("one", ["MAMMO2"], later(200_000), later(200_000))
    assert leases.open_until() == {"MAMMO2": later(200_000)}


def test_a_database_that_is_away_ends_nothing(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = AssociationLeases(store.database)
    tell = leases.set
    calls: list[None] = []

    def fail_twice(*arguments: object) -> None:
        calls.append(None)
        if len(calls) <= 2:
            raise OutOfResources("Away.")
        tell(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(leases, "set", fail_twice)
    watch = AssociationWatch(leases, lambda: {"MAMMO1"}, utc_now)
    watch.start()
    until(lambda: "MAMMO1" in leases.open_until())
    watch.stop()
