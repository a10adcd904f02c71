"""The log: events with keys, in one form, for people or for collectors."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from oncopixel_pacs.logs import configure_logging

NAMES = ("", "oncopixel_pacs", "training", "sample_dicom", "pydicom", "pynetdicom", "highdicom")


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in NAMES]
    before = [(logger, logger.level, logger.handlers) for logger in loggers]
    yield
    structlog.reset_defaults()
    for logger, level, handlers in before:
        logger.setLevel(level)
        logger.handlers = handlers


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


def ours() -> structlog.stdlib.BoundLogger:
    logger: structlog.stdlib.BoundLogger = structlog.get_logger("oncopixel_pacs.receive")
    return logger


def test_json_is_one_object_a_line(stream: io.StringIO) -> None:
    configure_logging("info", "json", stream)
    ours().info("study.settled", job_id="7")
    ours().error("job.failed", job_id="8")
    one, two = (json.loads(line) for line in stream.getvalue().splitlines())
    assert (one["event"], one["level"], one["job_id"]) == ("study.settled", "info", "7")
    assert one["timestamp"].endswith("Z")
    assert (two["event"], two["level"]) == ("job.failed", "error")


def test_text_is_for_people(stream: io.StringIO) -> None:
    configure_logging("info", "text", stream)
    ours().info("study.settled", job_id="7")
    assert "study.settled" in stream.getvalue()
    assert "job_id=7" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


def test_a_value_steers_no_terminal(stream: io.StringIO) -> None:
    configure_logging("info", "text", stream)
    ours().info("association.rejected", calling_ae_title="\x1b]0;OWNED\x07")
    assert "\\x1b]0;OWNED\\x07" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_defect_leaves_its_trace(form: str, stream: io.StringIO) -> None:
    configure_logging("info", form, stream)  # type: ignore[arg-type]
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        ours().exception("job.defect", job_id="7")
        logging.getLogger("uvicorn").exception("of a library")
    assert stream.getvalue().count("Traceback (most recent call last)") == 2


@pytest.mark.parametrize(
    ("level", "shown"), [("debug", "die"), ("info", "ie"), ("warning", "e"), ("error", "e")]
)
def test_the_level_is_that_of_our_own_events(level: str, shown: str, stream: io.StringIO) -> None:
    configure_logging(level, "json", stream)
    ours().debug("d")
    ours().info("i")
    ours().error("e")
    assert "".join(json.loads(line)["event"] for line in stream.getvalue().splitlines()) == shown


def test_libraries_speak_from_warning_up(stream: io.StringIO) -> None:
    configure_logging("debug", "json", stream)
    logging.getLogger("uvicorn").info("hidden")
    logging.getLogger("uvicorn").warning("shown")
    (line,) = stream.getvalue().splitlines()
    assert (json.loads(line)["event"], json.loads(line)["level"]) == ("shown", "warning")


@pytest.mark.parametrize("library", ["pydicom", "pynetdicom", "highdicom"])
def test_libraries_that_quote_values_are_silent_below_error(
    library: str, stream: io.StringIO
) -> None:
    configure_logging("debug", "json", stream)
    logging.getLogger(f"{library}.values").warning("Invalid value: Canary^Anna")
    assert stream.getvalue() == ""
