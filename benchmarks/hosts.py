"""Several hosts on one PostgreSQL: studies per minute, and how soon work moves.

``python -m benchmarks.hosts`` starts a PostgreSQL server and hosts in processes of their own.
The model costs a fixed time and no processor, so what is above it is what the engine, the
result objects and their delivery cost.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from conftest import opened  # noqa: E402
from hosts_builder import CountingArchive, CuttableLink, Host, counting_archive  # noqa: E402
from postgresql_server import PostgresqlServer, find_binaries, postgresql_server  # noqa: E402
from workflow_builder import PretendedModel, Works, until  # noqa: E402

from oncopixel_pacs.domain import JobState  # noqa: E402
from oncopixel_pacs.errors import OutOfResources  # noqa: E402
from oncopixel_pacs.store.hosts import Hosts  # noqa: E402
from oncopixel_pacs.workflow.engine import WorkQueue  # noqa: E402

TAKEOVER_SECONDS = 15.0


@dataclass(frozen=True)
class Scaling:
    """How many studies some hosts did in a minute.

    Attributes
    ----------
    overhead_seconds
        Of a host for each study, besides the model.
    """

    hosts: int
    studies: int
    seconds: float
    model_seconds: float

    @property
    def studies_per_minute(self) -> float:
        """Of all hosts together."""
        return 60.0 * self.studies / self.seconds

    @property
    def overhead_seconds(self) -> float:
        """Time of one host for one study that the model does not take."""
        return self.seconds * self.hosts / self.studies - self.model_seconds


@dataclass
class Cluster:
    """Hosts at work, what they share, and the way of the first to the database."""

    works: Works
    hosts: list[Host]
    archive: CountingArchive
    link: CuttableLink
    folder: Path
    received: int = 0

    def receive(self, number: int) -> None:
        """Take in so many studies of one image."""
        for _ in range(number):
            self.received += 1
            uid = f"2.25.8{self.received:05}"
            self.works.receive(self.folder / "in", StudyInstanceUID=uid, SOPInstanceUID=f"{uid}.1")

    def finish(self, seconds: float = 600.0) -> float:
        """Wait until all are done; returns how long that was."""
        begin = time.monotonic()
        ledger = self.works.store.ledger
        until(lambda: ledger.counts() == {JobState.DONE: self.received}, seconds)
        return time.monotonic() - begin

    def takeover(self, fault: Callable[[], None]) -> float:
        """Let a fault befall the first host while it works; returns when its work has moved."""
        self.receive(8)
        queue = WorkQueue(self.works.store.database.engine)
        mine: list[str] = []

        def at_work() -> bool:
            with suppress(OutOfResources):  # the engine's tables may be in the making
                mine[:] = [item.workflow_id for item in queue.running_on(self.hosts[0].name)]
            return bool(mine)

        def moved() -> bool:
            here = {item.workflow_id for item in queue.running_on(self.hosts[0].name)}
            return not here & set(mine)

        until(at_work, 120)
        fault()
        begin = time.monotonic()
        until(moved, 120)
        seconds = time.monotonic() - begin
        queue.close()
        self.finish()
        return seconds


@contextmanager
def cluster(server: PostgresqlServer, number: int, model_seconds: float) -> Iterator[Cluster]:
    """Run some hosts."""
    url = server.empty_database()
    link = CuttableLink(server.port)
    far = url.replace(f":{server.port}/", f":{link.port}/")
    with tempfile.TemporaryDirectory() as name, counting_archive() as archive:
        folder = Path(name)
        hosts = [
            Host(
                f"host{n}", folder, url if n else far, archive.port, model_seconds, TAKEOVER_SECONDS
            )
            for n in range(number)
        ]
        for store in opened(url, folder / "data"):
            built = Cluster(Works(store, PretendedModel()), hosts, archive, link, folder)
            heard = Hosts(store.database)
            try:
                for host in hosts:
                    host.start()
                until(lambda heard=heard: len(heard.heard()) == number, 180)
                yield built
            finally:
                link.mend()
                for host in hosts:
                    host.stop()
                link.close()


def measure(server: PostgresqlServer, number: int, studies: int, model_seconds: float) -> Scaling:
    """Let hosts do studies that come at once."""
    with cluster(server, number, model_seconds) as built:
        built.receive(number)
        built.finish()
        begin = time.monotonic()
        # They begin with the first that comes: it takes less time than a host needs for it.
        built.receive(studies)
        built.finish()
        return Scaling(number, studies, time.monotonic() - begin, model_seconds)


def faults(server: PostgresqlServer, model_seconds: float) -> dict[str, float]:
    """Tell after how many seconds work moves, by fault."""
    with cluster(server, 2, model_seconds) as built:
        first = built.hosts[0]

        def pause() -> None:
            first.signal(signal.SIGSTOP)

        moved = {"paused": built.takeover(pause)}
        first.signal(signal.SIGCONT)
        moved["cut off"] = built.takeover(built.link.cut)
        built.link.mend()
        moved["killed"] = built.takeover(lambda: first.signal(signal.SIGKILL))
        print(f"results that came to the archive twice: {len(built.archive.twice)}")
        return moved


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=40)
    parser.add_argument("--model-seconds", type=float, default=2.0)
    parser.add_argument("--hosts", type=int, nargs="*", default=[1, 2, 4])
    parser.add_argument("--no-faults", action="store_true")
    options = parser.parse_args()
    binaries = find_binaries()
    if binaries is None:
        sys.exit("There is no PostgreSQL server; install it and try again.")
    with postgresql_server(binaries) as server:
        print("| hosts | studies | seconds | studies per minute | overhead per study |")
        print("|---|---|---|---|---|")
        for number in options.hosts:
            found = measure(server, number, options.studies, options.model_seconds)
            print(
                f"| {found.hosts} | {found.studies} | {found.seconds:.1f} | "
                f"{found.studies_per_minute:.1f} | {found.overhead_seconds:.2f} s |",
                flush=True,
            )
        if not options.no_faults:
            for name, seconds in faults(server, options.model_seconds).items():
                print(f"| {name} | work moved after {seconds:.1f} s |")


if __name__ == "__main__":
    main()
