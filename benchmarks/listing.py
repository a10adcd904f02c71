"""How soon pages and calls answer while the database holds 100,000 jobs.

``python -m benchmarks.listing`` fills SQLite and PostgreSQL through the store's own tables, serves
them, and asks each list page and call again and again. Exit status 0 when every 95th percentile
is within the limit. ``--sqlite FILE`` and ``--postgresql URL`` use a database again, and fill it
only when it is empty.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from fastapi.routing import APIRoute

from benchmarks.full_database import JOB, STUDY_UID, fill, is_full
from oncopixel_pacs.api.application import create_app
from oncopixel_pacs.api.parts import ApiParts
from oncopixel_pacs.metrics.meters import Meters
from oncopixel_pacs.metrics.state import StateCollector

# The folder of the tests is on the path since the import above.
from api_builders import make_parts, serving  # isort: skip
from conftest import Store, opened  # isort: skip
from postgresql_server import find_binaries, postgresql_server  # isort: skip

LIMIT_MS = 100.0
#: Pages down the list at which it is asked for what follows.
DEEP = 100
#: No lists: an endless answer, descriptions of the API, and ways in.
APART = (
    "/api/v1/events",
    "/docs",
    "/openapi.json",
    "/login",
    "/login/oidc",
    "/login/oidc/callback",
)
SEARCHES = (
    "state=settled",
    "state=receiving",
    "job_state=done",
    "job_state=failed",
    "job_state=queued",
    "job_state=cancelled",
    "patient_id=P-0500",
    "patient_id=nobody",
    "accession_number=A-09",
    "date_from=2025-02-20&date_to=2025-02-21",
    "date_to=2024-12-05",
    "score_from=0.99",
    "score_from=0.999999",
    "score_to=0.01&job_state=failed",
    "patient_id=P-05&score_from=0.9&job_state=done",
)
QUERIES = {
    "/studies": SEARCHES,
    "/api/v1/studies": (*SEARCHES, "limit=200"),
    "/jobs": ("state=failed", "state=queued", "state=cancelled"),
    "/api/v1/jobs": ("state=failed", "state=cancelled", "state=done&state=failed", "limit=200"),
    "/": ("span=hour", "span=month"),
    "/api/v1/overview": ("span=hour", "span=month"),
    "/audit": ("who=dr", "who=nobody", "kind=login"),
    "/api/v1/audit": ("who=dr", "who=nobody", "kind=login", "limit=200"),
    "/api/v1/feedback": ("limit=200",),
    "/api/v1/pulls": ("limit=200",),
    "/dicom-web/studies": (
        "limit=50",
        "PatientID=P-050000",
        "PatientID=P-05*&limit=50",
        "StudyDate=20250220-20250221&limit=50",
        "ModalitiesInStudy=MG&limit=50",
        "StudyInstanceUID=1.2.3",
    ),
}
#: Lists that are asked for far down, by path.
DEEP_LISTS = ("/api/v1/studies", "/api/v1/jobs", "/api/v1/audit", "/api/v1/feedback")


@dataclass(frozen=True)
class Timing:
    """Milliseconds of each answer to one request, and processor time of both ends."""

    database: str
    path: str
    milliseconds: tuple[float, ...]
    processor_ms: float

    @property
    def p95(self) -> float:
        """95th percentile; of one answer, that one."""
        if len(self.milliseconds) == 1:
            return self.milliseconds[0]
        return statistics.quantiles(self.milliseconds, n=20, method="inclusive")[-1]


def paths_of(parts: ApiParts, client: httpx.Client) -> list[str]:
    """Every route that takes no name, plain and with its queries; and one of each item."""
    routes = [item for item in create_app(parts).state.routes if isinstance(item, APIRoute)]
    plain = {item.path for item in routes if "GET" in item.methods and "{" not in item.path}
    listed = sorted(plain - set(APART))
    listed += [f"{path}?{query}" for path, queries in QUERIES.items() for query in queries]
    listed += [f"{path}?cursor={_deep(client, path)}" for path in DEEP_LISTS]
    study = client.get("/api/v1/studies?limit=1").json()["items"][0]
    uid, job = study["study_instance_uid"], study["latest_job"]["id"]
    listed += [f"/studies/{uid}", f"/api/v1/studies/{uid}"]
    listed += [f"/api/v1/studies/{uid}/{name}" for name in ("views", "feedback", "routing")]
    listed += [f"/jobs/{job}", f"/api/v1/jobs/{job}", f"/api/v1/jobs/{job}/shadows"]
    listed += [f"/api/v1/jobs?study_instance_uid={uid}", f"/dicom-web/studies/{uid}/series"]
    return listed


def _deep(client: httpx.Client, path: str) -> str:
    cursor = ""
    for _ in range(DEEP):
        page = client.get(path, params={"limit": 200} | ({"cursor": cursor} if cursor else {}))
        cursor = page.raise_for_status().json()["next_cursor"]
    return cursor


def measure(store: Store, database: str, repetitions: int, only: str = "") -> list[Timing]:
    """Ask for everything so many times, in turn."""
    meters = Meters()
    parts = make_parts(store, exposition=meters.exposition)
    names = tuple(item.name for item in parts.settings.destinations)
    meters.registry.register(
        StateCollector(
            store.database, parts.free_space, names, {}, parts.algorithms, parts.drift, parts.now
        )
    )
    with serving(parts) as client:
        paths = [path for path in paths_of(parts, client) if path.startswith(only)]
        wall: dict[str, list[float]] = {path: [] for path in paths}
        processor = dict.fromkeys(paths, 0.0)
        for round_ in range(repetitions + 1):
            for path in paths:
                began, spent = time.perf_counter(), time.process_time()
                client.get(path).raise_for_status()
                if round_:  # the first fills caches that a server at work has full
                    wall[path].append(1000 * (time.perf_counter() - began))
                    processor[path] += 1000 * (time.process_time() - spent)
    return [
        Timing(database, path, tuple(times), processor[path] / repetitions)
        for path, times in wall.items()
    ]


@contextmanager
def _urls(options: argparse.Namespace, folder: Path) -> Iterator[dict[str, str]]:
    with ExitStack() as closing:
        found = {"sqlite": f"sqlite:///{options.sqlite or folder / 'listing.sqlite'}"}
        binaries = find_binaries()
        if options.postgresql:
            found["postgresql"] = options.postgresql
        elif binaries is not None and options.only != "sqlite":
            server = closing.enter_context(postgresql_server(binaries))
            found["postgresql"] = server.empty_database()
        yield {name: url for name, url in found.items() if options.only in (None, name)}


def _shown(path: str) -> str:
    """Path for people: what differs from run to run is left out."""
    path = re.sub(r"cursor=.+", "cursor=…", path)
    path = re.sub(rf"{re.escape(STUDY_UID)}[0-9.]*", "{study}", path)
    return re.sub(rf"/jobs/({JOB}|[0-9a-f]{{24}})", "/jobs/{job}", path)


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("at least one")
    return number


def main() -> int:
    """Measure both databases, print the slowest first."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--repetitions", type=_positive, default=30)
    parser.add_argument("--only", choices=["sqlite", "postgresql"])
    parser.add_argument("--sqlite", help="file of a database to use again")
    parser.add_argument("--postgresql", help="SQLAlchemy URL of a database to use again")
    parser.add_argument("--path", default="", help="only paths that begin so")
    options = parser.parse_args()
    found: list[Timing] = []
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder, _urls(options, Path(folder)) as urls:
        for name, url in urls.items():
            data = Path(folder) / name
            data.mkdir()
            with contextmanager(opened)(url, data) as store:
                if not is_full(store, options.jobs):
                    began = time.perf_counter()
                    fill(store, options.jobs)
                    print(f"{name}: filled in {time.perf_counter() - began:.0f} s", file=sys.stderr)
                found += measure(store, name, options.repetitions, options.path)
    print(f"{os.cpu_count()} cores, load before {load:.1f}, after {os.getloadavg()[0]:.1f}\n")
    print("| database | path | median ms | p95 ms | processor ms |\n|---|---|---|---|---|")
    for item in sorted(found, key=lambda one: -one.p95):
        middle = statistics.median(item.milliseconds)
        print(
            f"| {item.database} | `{_shown(item.path)}` | {middle:.0f} | {item.p95:.0f} "
            f"| {item.processor_ms:.0f} |"
        )
    slow = sum(item.p95 > LIMIT_MS for item in found)
    print(f"\n{slow} of {len(found)} rows above {LIMIT_MS:.0f} ms")
    return int(slow > 0)


if __name__ == "__main__":
    raise SystemExit(main())
