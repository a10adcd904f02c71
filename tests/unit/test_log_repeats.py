"""A warning that says the same again and again is written once a minute, with a count."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from oncopixel_pacs.log_repeats import EVERY_SECONDS, RepeatFilter
from oncopixel_pacs.logs import configure_logging


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("oncopixel_pacs.logs.RepeatFilter", lambda: RepeatFilter(clock))
    return clock


@pytest.fixture
def stream(clock: Clock) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    stream = io.StringIO()
    configure_logging("info", "json", stream)
    yield stream
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def lines(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_outage_is_written_once_a_minute_with_what_was_left_out(
    stream: io.StringIO, clock: Clock
) -> None:
    log = structlog.get_logger("oncopixel_pacs.workflow")
    for _ in range(600):
        log.error("watch.failed", error="The database cannot be read now.")
        clock.now += EVERY_SECONDS / 300
    first, second = lines(stream)
    assert "repeated" not in first
    assert second["repeated"] == 299


def test_what_differs_in_anything_but_its_time_is_written(stream: io.StringIO) -> None:
    log = structlog.get_logger("oncopixel_pacs.workflow")
    for job in ("1", "2"):
        log.error("job.failed", job_id=job)
        log.warning("job.failed", job_id=job)
    assert len(lines(stream)) == 4


def test_what_is_less_than_a_warning_is_always_written(stream: io.StringIO) -> None:
    log = structlog.get_logger("oncopixel_pacs.receive")
    for _ in range(3):
        log.info("study.settled", job_id="1")
    assert len(lines(stream)) == 3


def test_libraries_do_not_repeat_themselves_either(stream: io.StringIO, clock: Clock) -> None:
    for _ in range(2):
        for _ in range(5):
            logging.getLogger("dbos").warning("the database is away")
            logging.getLogger("uvicorn.error").warning("Invalid HTTP request received.")
        clock.now += EVERY_SECONDS
    told = [(line["event"], line.get("repeated")) for line in lines(stream)]
    own = "Invalid HTTP request received."
    assert told == [("library.said", None), (own, None), ("library.said", 4), (own, 4)]


def test_what_is_remembered_does_not_grow_without_bound(clock: Clock) -> None:
    kept = RepeatFilter(clock)
    for number in range(5000):
        clock.now += 1
        kept.filter(logging.LogRecord("x", logging.ERROR, "p", number, "m", (), None))
    assert len(kept._told) <= 1000
