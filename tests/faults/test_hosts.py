"""Hosts that die, are paused and wake, or are cut off: their work moves and is done once."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from conftest import opened
from hosts_builder import CountingArchive, CuttableLink, Host, counting_archive
from postgresql_server import PostgresqlServer
from workflow_builder import PretendedModel, Works, until

from oncopixel_pacs.domain import JobState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.hosts import Hosts
from oncopixel_pacs.workflow.engine import Running, WorkQueue

TAKEOVER_SECONDS = 3.0
#: Within which work moves: ten times as long as here it is at the default of 15 s.
WITHIN_SECONDS = 30.0


@dataclass
class Hospital:
    """Hosts `first`, behind a link that can be cut, and `second`; and the studies in between."""

    works: Works
    first: Host
    second: Host
    link: CuttableLink
    archive: CountingArchive
    folder: Path
    received: int = 0

    def receive(self, number: int) -> None:
        for _ in range(number):
            self.received += 1
            uid = f"2.25.9{self.received:03}"
            self.works.receive(self.folder / "in", StudyInstanceUID=uid, SOPInstanceUID=f"{uid}.1")

    def running(self, host: Host) -> list[Running]:
        queue = WorkQueue(self.works.store.database.engine)
        try:
            return list(queue.running_on(host.name))
        except OutOfResources:  # the first host to start is still making the engine's tables
            return []
        finally:
            queue.close()

    def signed_on(self, host: Host) -> None:
        until(lambda: host.name in Hosts(self.works.store.database).heard(), 90)

    def at_work(self, host: Host) -> None:
        until(lambda: self.running(host), 60)

    def all_done(self) -> bool:
        return self.works.store.ledger.counts() == {JobState.DONE: self.received}

    def finish(self, seconds: float = 60.0) -> float:
        """Wait until every study is done; returns how long that was."""
        since = time.monotonic()
        until(self.all_done, seconds)
        return time.monotonic() - since

    def require_each_sent_once(self) -> None:
        jobs = self.works.store.ledger.jobs(limit=1000).items
        sent = {item.sop_instance_uid for job in jobs for item in job.objects}
        assert sent == set(self.archive.came)
        assert self.archive.twice == []
        assert {delivery.state.value for job in jobs for delivery in job.deliveries} <= {
            "accepted",
            "confirmed",
        }


@pytest.fixture(scope="module")
def hospital(
    postgresql: PostgresqlServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hospital]:
    """Run both hosts for the whole module; each test leaves them at work."""
    folder = tmp_path_factory.mktemp("hosts")
    url = postgresql.empty_database()
    link = CuttableLink(postgresql.port)
    far = url.replace(f":{postgresql.port}/", f":{link.port}/")
    with counting_archive() as archive:
        first = Host("first", folder, far, archive.port, 0.5, TAKEOVER_SECONDS)
        second = Host("second", folder, url, archive.port, 0.5, TAKEOVER_SECONDS)
        for store in opened(url, folder / "data"):
            built = Hospital(Works(store, PretendedModel()), first, second, link, archive, folder)
            try:
                for host in (first, second):
                    host.start()
                for host in (first, second):
                    built.signed_on(host)
                yield built
            finally:
                link.mend()
                for host in (first, second):
                    host.stop()
                link.close()


def test_a_paused_host_wakes_and_finds_its_work_done(hospital: Hospital) -> None:
    hospital.receive(6)
    hospital.at_work(hospital.first)
    hospital.first.signal(signal.SIGSTOP)
    assert hospital.finish() < WITHIN_SECONDS
    hospital.first.signal(signal.SIGCONT)
    until(lambda: "host.taken_over" in hospital.first.log, 30)
    hospital.require_each_sent_once()
    # It takes part again: the slot that it slept in is free.
    hospital.receive(4)
    hospital.at_work(hospital.first)
    hospital.finish()
    hospital.require_each_sent_once()


def test_a_host_that_is_cut_off_stops_and_takes_part_again(hospital: Hospital) -> None:
    hospital.receive(6)
    hospital.at_work(hospital.first)
    hospital.link.cut()
    assert hospital.finish() < WITHIN_SECONDS
    hospital.require_each_sent_once()
    hospital.link.mend()
    hospital.receive(6)
    hospital.at_work(hospital.first)
    hospital.finish()
    hospital.require_each_sent_once()


def test_a_host_that_is_killed_while_it_sends_is_replaced(hospital: Hospital) -> None:
    hospital.archive.answers.clear()
    hospital.receive(8)
    # In the middle of a C-STORE: what the archive has and did not answer may come again.
    until(lambda: any(not item.is_study for item in hospital.running(hospital.first)), 60)
    hospital.first.signal(signal.SIGKILL)
    hospital.archive.answers.set()
    hospital.finish()
    jobs = hospital.works.store.ledger.jobs(limit=1000).items
    sent = {item.sop_instance_uid for job in jobs for item in job.objects}
    assert sent == set(hospital.archive.came)
    assert max(hospital.archive.came.values()) <= 2


def test_a_host_without_its_database_ends_when_it_is_told(
    hospital: Hospital, postgresql: PostgresqlServer
) -> None:
    hospital.receive(4)
    hospital.at_work(hospital.second)
    postgresql.stop()
    try:
        # The engine's threads wait for the database, and shall not keep the process.
        until(lambda: "host.unheard" in hospital.second.log, 30)
        hospital.second.signal(signal.SIGTERM)
        assert hospital.second.process is not None
        assert hospital.second.process.wait(20) == 0, hospital.second.log[-4000:]
    finally:
        postgresql.start()
