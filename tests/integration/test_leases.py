"""The lease of a host, and who takes over: with clocks that the test holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from conftest import Store
from workflow_builder import (
    PretendedModel,
    Works,
    engine_threads,
    folder_destination,
    running,
    until,
    utc_now,
)

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.errors import AnalysisFailed, ConfigurationError, OutOfResources
from oncopixel_pacs.store.hosts import Heartbeat, Hosts, HostWatch
from oncopixel_pacs.workflow.lease import HostLease
from oncopixel_pacs.workflow.steps import Interrupted
from oncopixel_pacs.workflow.takeover import MOST_TAKEOVERS, Reaper


class Clock:
    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def hosts(any_store: Store) -> Hosts:
    return Hosts(any_store.database)


def lease_of(hosts: Hosts, clock: Clock, reclaimed: list[str]) -> HostLease:
    return HostLease(hosts, "host", 0.5, lambda: reclaimed.append("host"), clock)


def test_a_host_is_heard_until_it_leaves(hosts: Hosts) -> None:
    epoch = hosts.register("host")
    assert hosts.beat("host", epoch)
    assert hosts.heard() == {"host": Heartbeat(epoch, 1)}
    hosts.leave("host", epoch)
    assert hosts.heard() == {}
    assert not hosts.beat("host", epoch)


def test_work_is_taken_only_from_a_host_that_was_not_heard_again(hosts: Hosts) -> None:
    epoch = hosts.register("host")
    last = hosts.heard()["host"]
    hosts.beat("host", epoch)
    assert not hosts.take_from("host", last)
    assert hosts.take_from("host", hosts.heard()["host"])
    assert not hosts.beat("host", epoch)


def test_whoever_comes_later_under_a_name_has_it(hosts: Hosts) -> None:
    first = hosts.register("host")
    second = hosts.register("host")
    assert not hosts.beat("host", first)
    assert hosts.beat("host", second)


def test_a_step_waits_while_the_lease_is_out_and_goes_on_when_nobody_took_over(
    hosts: Hosts, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, reclaimed = Clock(), []
    away = threading.Event()
    beat = hosts.beat

    def heard(executor: str, epoch: str, trouble: str) -> bool:
        if away.is_set():
            raise OutOfResources("The database is away.")
        return beat(executor, epoch, trouble)

    monkeypatch.setattr(hosts, "beat", heard)
    lease = lease_of(hosts, clock, reclaimed)
    lease.start()
    ticket = lease.ticket()
    away.set()
    clock.seconds += 1.0
    went_on = threading.Event()
    step = threading.Thread(target=lambda: (ticket.require(), went_on.set()))
    step.start()
    assert not went_on.wait(0.3)
    away.clear()
    assert went_on.wait(10)
    step.join()
    lease.stop()
    assert reclaimed == []
    assert hosts.heard() == {}


def test_a_step_of_which_the_work_was_taken_ends_and_the_next_may_begin(hosts: Hosts) -> None:
    clock, reclaimed = Clock(), []
    lease = lease_of(hosts, clock, reclaimed)
    lease.start()
    ticket = lease.ticket()
    until(lambda: hosts.take_from("host", hosts.heard()["host"]))
    until(lambda: hosts.heard()["host"].epoch)
    with pytest.raises(Interrupted):
        ticket.require()
    lease.ticket().require()
    assert reclaimed == ["host"]
    lease.stop()


def test_a_server_that_stops_ends_every_wait(hosts: Hosts) -> None:
    lease = lease_of(hosts, Clock(), [])
    lease.start()
    ticket = lease.ticket()
    lease.interrupt()
    with pytest.raises(Interrupted):
        ticket.require()
    lease.stop()


def test_the_trouble_of_a_host_is_told_with_its_beats_until_it_is_over(hosts: Hosts) -> None:
    told = ["The models cannot be loaded."]
    lease = HostLease(hosts, "host", 0.5, lambda: None, trouble=lambda: told[0])
    alarm = HostWatch(hosts, 15.0).alarm
    lease.start()
    until(lambda: alarm() == "Host host: The models cannot be loaded.")
    told[0] = ""
    until(lambda: not alarm())
    lease.stop()


def test_a_name_under_which_another_process_works_is_refused(hosts: Hosts) -> None:
    first = HostLease(hosts, "host", 1.0, lambda: None, place="one:")
    first.start()
    second = HostLease(hosts, "host", 1.0, lambda: None, place="another:")
    with pytest.raises(ConfigurationError, match="give each host an executor of its own"):
        second.start()
    first.ticket().require()
    first.stop()
    second.start()
    second.stop()


def test_the_name_of_a_process_that_died_is_free(hosts: Hosts) -> None:
    hosts.register("host", "one:")
    lease = HostLease(hosts, "host", 0.5, lambda: None, place="another:")
    lease.start()
    lease.ticket().require()
    lease.stop()


def test_who_lost_its_name_to_a_process_that_lives_ends_and_takes_nothing_back(
    hosts: Hosts,
) -> None:
    ended, reclaimed = threading.Event(), []
    lease = HostLease(
        hosts, "host", 0.5, lambda: reclaimed.append("host"), place="one:", yields=ended.set
    )
    lease.start()
    ticket = lease.ticket()
    epoch = hosts.register("host", "another:")
    assert ended.wait(30)
    with pytest.raises(Interrupted):
        ticket.require()
    lease.stop()
    assert reclaimed == []
    assert hosts.heard()["host"].epoch == epoch


def test_that_no_host_works_is_an_alarm(hosts: Hosts) -> None:
    clock = Clock()
    alarm = HostWatch(hosts, 15.0, clock).alarm
    assert "No process with the role work is heard of" in alarm()
    epoch = hosts.register("host")
    hosts.register("killed")
    assert alarm() == ""
    clock.seconds += 16.0
    hosts.beat("host", epoch)
    assert alarm() == ""
    clock.seconds += 14.0
    assert alarm() == ""
    clock.seconds += 2.0
    assert "No process with the role work is heard of" in alarm()
    hosts.beat("host", epoch)
    assert alarm() == ""
    hosts.take_from("host", hosts.heard()["host"])
    assert "No process with the role work is heard of" in alarm()


@pytest.fixture
def works(store: Store, tmp_path: Path) -> Iterator[Works]:
    """Leave one job under way on a host that died."""
    built = Works(store, PretendedModel(), (folder_destination(tmp_path / "out"),))
    with running(built):
        built.receive(tmp_path / "in")
        built.model.go.clear()
        built.settle()
        built.model.busy.wait(30)
        built.model.ended = AnalysisFailed("The server is stopping.")
        built.stop()
        built.model.go.set()
        until(lambda: not engine_threads())
        built.model.ended = None
        Hosts(store.database).register("host")
        built.executor_name = "another"
        built.start()
        yield built


def reaper_of(works: Works, clock: Clock) -> Reaper:
    return Reaper(
        Hosts(works.store.database),
        works.store.ledger,
        works.queue,
        "another",
        15.0,
        utc_now,
        clock,
    )


def test_the_work_of_a_host_that_is_heard_is_left_to_it(works: Works) -> None:
    clock = Clock()
    reaper = reaper_of(works, clock)
    hosts = Hosts(works.store.database)
    epoch = hosts.heard()["host"].epoch
    for _ in range(5):
        assert reaper.reap() == 0
        hosts.beat("host", epoch)
        clock.seconds += 14.0


def test_the_work_of_a_host_that_fell_silent_is_done_by_another(works: Works) -> None:
    clock = Clock()
    reaper = reaper_of(works, clock)
    assert reaper.reap() == 0
    clock.seconds += 14.9
    assert reaper.reap() == 0
    clock.seconds += 0.2
    assert reaper.reap() == 1
    (job,) = works.store.ledger.jobs().items
    assert works.finished(job.id).state is JobState.DONE
    assert reaper.reap() == 0


def test_the_work_of_a_host_that_signed_off_is_done_at_once(works: Works) -> None:
    hosts = Hosts(works.store.database)
    hosts.leave("host", hosts.heard()["host"].epoch)
    assert reaper_of(works, Clock()).reap() == 1


def test_a_job_that_stops_host_after_host_is_given_up_in_words(works: Works) -> None:
    hosts = Hosts(works.store.database)
    hosts.leave("host", hosts.heard()["host"].epoch)
    with works.store.database.engine.begin() as connection:
        connection.execute(sa.text("UPDATE job SET takeovers = :most"), {"most": MOST_TAKEOVERS})
    assert reaper_of(works, Clock()).reap() == 0
    (job,) = works.store.ledger.jobs().items
    assert job.state is JobState.FAILED
    assert job.error == "The work was given up: 6 hosts stopped over it; retry the job."
    assert works.queue.running() == ()
    works.retry(job.id)
    assert works.finished(job.id).state is JobState.DONE
