"""How soon pages and calls answer while the database holds 100,000 jobs.

``python -m benchmarks.listing`` fills SQLite and PostgreSQL through the store's own tables, serves
them, and asks each list page and call again and again. Exit status 0 when every 95th percentile
is within the limit.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import httpx  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from api_builders import JOB, finish, make_parts, serving  # noqa: E402
from builders import NOON, STUDY_UID  # noqa: E402
from conftest import Store, opened  # noqa: E402
from postgresql_server import find_binaries, postgresql_server  # noqa: E402

from oncopixel_pacs.domain import DeliveryState, JobState  # noqa: E402
from oncopixel_pacs.metrics.meters import Meters  # noqa: E402
from oncopixel_pacs.opening import shared_state  # noqa: E402
from oncopixel_pacs.store.tables import StudyRow  # noqa: E402

LIMIT_MS = 100.0
#: Studies whose rows are written in one statement for each table.
BATCH = 1000
TABLES = ("study", "instance", "job", "step", "result_object", "job_object", "delivery")
DAYS = 90
STATES = [JobState.DONE] * 95 + [JobState.FAILED] * 3 + [JobState.NOT_ANALYSED] * 2
#: So many of the newest jobs are at work.
AT_WORK = 40


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each answer to one request."""

    database: str
    path: str
    milliseconds: tuple[float, ...]

    @property
    def p95(self) -> float:
        """95th percentile."""
        return statistics.quantiles(self.milliseconds, n=20, method="inclusive")[-1]


def fill(store: Store, jobs: int, seed: int = 1) -> None:
    """Copy the rows of one finished study so many times, each with ids and times of its own."""
    finish(store)
    tables = StudyRow.metadata.tables
    draw = random.Random(seed)  # noqa: S311
    with store.database.engine.begin() as connection:
        model = {
            name: list(connection.execute(sa.select(tables[name])).mappings()) for name in TABLES
        }
        for begin in range(1, jobs, BATCH):
            numbers = range(begin, min(begin + BATCH, jobs))
            copies: dict[str, list[dict[str, Any]]] = {name: [] for name in TABLES}
            for number in numbers:
                for name, row in _copy(model, number, jobs, draw):
                    copies[name].append(row)
            for name in TABLES:
                connection.execute(sa.insert(tables[name]), copies[name])
    with store.database.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT").exec_driver_sql("ANALYZE")


def _copy(
    model: dict[str, list[Any]], number: int, jobs: int, draw: random.Random
) -> Iterator[tuple[str, dict[str, Any]]]:
    study, job_id = f"{STUDY_UID}.{number}", f"{number:024x}"
    shift = timedelta(seconds=DAYS * 86400 * (number / jobs - 1))
    state = JobState.QUEUED if number >= jobs - AT_WORK else draw.choice(STATES)
    sent = DeliveryState.CONFIRMED if number < jobs - 500 else draw.choice(list(DeliveryState))

    def changed(value: Any) -> Any:
        if isinstance(value, str):
            return value.replace(STUDY_UID, study).replace(JOB, job_id)
        if isinstance(value, list):
            return [changed(item) for item in value]
        if isinstance(value, dict):
            return {key: changed(item) for key, item in value.items()}
        return value + shift if hasattr(value, "isoformat") else value

    for name, rows in model.items():
        for row in rows:
            copy = {key: changed(value) for key, value in row.items()}
            if name == "study":
                copy["patient_id"] = f"P-{number:06}"
                copy["accession_number"] = f"A-{number:06}"
                copy["study_date"] = f"{(NOON + shift):%Y%m%d}"
            elif name == "job":
                copy["state"], copy["probability"] = state, draw.random()
                if not state.final:
                    copy["finished_at"] = None
            elif name == "delivery":
                copy["state"] = sent
            elif name == "instance":
                copy["path"] = f"instances/{number}/{copy['sop_instance_uid']}"
            yield name, copy


def paths_of(client: httpx.Client) -> list[str]:
    """Every list page and call, plain, searched, and far down the list; and one of each item."""
    found = client.get("/api/v1/studies", params={"limit": 1}).json()["items"][0]
    study = found["study_instance_uid"]
    job = client.get("/api/v1/jobs", params={"limit": 1}).json()["items"][0]["id"]
    deep = {}
    for name in ("studies", "jobs"):
        cursor = None
        for _ in range(10):
            page = client.get(
                f"/api/v1/{name}",
                params={"limit": 200, "cursor": cursor} if cursor else {"limit": 200},
            )
            cursor = page.json()["next_cursor"]
        deep[name] = cursor
    listed = ["/", "/studies", "/jobs", "/destinations", "/pulls", "/models", "/peers", "/alarms"]
    listed += ["/audit", "/settings", "/routing", "/upload", "/?span=month"]
    listed += [f"/studies/{study}", f"/jobs/{job}", "/metrics"]
    searched = ["state=settled", "job_state=failed", "job_state=queued", "patient_id=P-0500"]
    searched += ["accession_number=A-09", "date_from=2025-02-20&date_to=2025-02-21"]
    searched += ["score_from=0.99", "score_to=0.01&job_state=failed", "patient_id=nobody"]
    listed += [f"/studies?{query}" for query in searched]
    listed += [f"/api/v1/studies?{query}" for query in searched]
    listed += ["/jobs?state=failed", "/jobs?state=queued"]
    for name in ("", "/me", "/studies", "/jobs", "/pulls", "/sources", "/models", "/destinations"):
        listed.append(f"/api/v1{name}")
    for name in ("/peers", "/quarantine", "/audit", "/webhooks", "/alarms", "/settings"):
        listed.append(f"/api/v1{name}")
    listed += [f"/api/v1/overview?span={span}" for span in ("hour", "day", "month")]
    listed += [f"/api/v1/{name}?limit=200" for name in ("studies", "jobs")]
    listed += [f"/api/v1/{name}?cursor={cursor}" for name, cursor in deep.items()]
    listed += ["/api/v1/jobs?state=failed", "/api/v1/jobs?state=cancelled"]
    listed += [f"/api/v1/jobs?study_instance_uid={study}", f"/api/v1/studies/{study}"]
    listed += [f"/api/v1/studies/{study}/views", f"/api/v1/jobs/{job}"]
    return [path for path in listed if client.get(path).status_code == 200]


def measure(store: Store, database: str, repetitions: int) -> list[Timing]:
    """Ask for everything so many times, in turn."""
    meters = Meters()
    parts = make_parts(store, exposition=meters.exposition)
    meters.registry.register(shared_state(store, parts.settings, parts.algorithms))  # type: ignore[arg-type]
    with serving(parts) as client:
        paths = paths_of(client)
        taken: dict[str, list[float]] = {path: [] for path in paths}
        for _ in range(repetitions):
            for path in paths:
                began = time.perf_counter()
                client.get(path).raise_for_status()
                taken[path].append(1000 * (time.perf_counter() - began))
    return [Timing(database, path, tuple(times)) for path, times in taken.items()]


def main() -> int:
    """Measure both databases, print the slowest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--repetitions", type=int, default=30)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    options = parser.parse_args()
    found: list[Timing] = []
    with tempfile.TemporaryDirectory() as folder, ExitStack() as closing:
        urls = {"sqlite": f"sqlite:///{folder}/listing.sqlite"}
        binaries = find_binaries()
        if binaries is not None and options.only != "sqlite":
            urls["postgresql"] = closing.enter_context(postgresql_server(binaries)).empty_database()
        for name, url in urls.items():
            if options.only not in (None, name):
                continue
            with contextmanager(opened)(url, Path(folder) / name) as store:
                began = time.perf_counter()
                fill(store, options.jobs)
                print(f"{name}: filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
                found += measure(store, name, options.repetitions)
    print("| database | path | median ms | p95 ms |\n|---|---|---|---|")
    for item in sorted(found, key=lambda one: -one.p95):
        middle = statistics.median(item.milliseconds)
        print(f"| {item.database} | `{item.path[:70]}` | {middle:.0f} | {item.p95:.0f} |")
    return int(any(item.p95 > LIMIT_MS for item in found))


if __name__ == "__main__":
    raise SystemExit(main())
