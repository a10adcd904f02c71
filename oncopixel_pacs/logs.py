"""Logging: events with keys, never a patient name, never a data set.

Our own events go through structlog. Records of libraries pass through the same formatter from
`warning` up, pynetdicom's and pydicom's only from `error` up. What libraries and foreign exceptions
say may quote the data set, so of them only type and place are told.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
import warnings
from collections.abc import Iterator
from types import TracebackType
from typing import Literal, TextIO

import structlog

from oncopixel_pacs.errors import OncoPixelError
from oncopixel_pacs.log_repeats import RepeatFilter

_QUOTE_VALUES = ("pydicom", "pynetdicom", "highdicom")
#: Libraries whose messages hold nothing that came from outside.
_PLAIN_SPOKEN = ("uvicorn",)
_log = structlog.get_logger("oncopixel_pacs.logs")


def configure_logging(
    level: str = "info", form: Literal["text", "json"] = "text", stream: TextIO | None = None
) -> None:
    """Send every log record to `stream` (standard error when absent).

    Parameters
    ----------
    level
        Least severe level of our own events.
    form
        ``text`` for people, ``json`` for log collectors (one object a line).

    Warnings, and what ends a thread or the process, become events too: Python itself would print
    them with the values that they quote.
    """
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _values_printable,
    ]
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=stream.isatty())
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, _place_instead_of_text],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                _trace_without_values,
                renderer,
            ],
        )
    )
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in _QUOTE_VALUES:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("oncopixel_pacs", "training", "sample_dicom"):
        logging.getLogger(name).setLevel(level.upper())
    _speak_for_python()


def printable(text: str) -> str:
    """Write what steers a terminal or turns text around as an escape; lines stay lines."""
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() or letter == "\n" else ascii(letter)[1:-1] for letter in text
    )


def _values_printable(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value)
    return event


def _speak_for_python() -> None:
    """Tell what Python itself would print."""
    warnings.showwarning = _tell_warning
    threading.excepthook = _tell_end_of_thread
    sys.excepthook = _tell_end_of_process
    sys.unraisablehook = _tell_unraisable


def trace_without_values(error: BaseException) -> str:
    """Write a traceback with types and places; the messages only of errors that are ours."""
    return "".join(_traced(error, set())).rstrip()


def _traced(error: BaseException, seen: set[int]) -> Iterator[str]:
    seen.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in seen:
        yield from _traced(before, seen)
        yield "\nThis led to another:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    kind = type(error)
    module = "" if kind.__module__ == "builtins" else f"{kind.__module__}."
    name = f"{module}{kind.__qualname__}"
    yield f"{name}: {error.for_log}\n" if isinstance(error, OncoPixelError) else f"{name}\n"
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _traced(part, seen)


def _trace_without_values(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    given = event.pop("exc_info", None)
    if isinstance(given, tuple):
        given = given[1]
    error = given if isinstance(given, BaseException) else sys.exc_info()[1] if given else None
    if error is not None:
        event["exception"] = trace_without_values(error)
    return event


def _place_instead_of_text(
    _logger: structlog.typing.WrappedLogger, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    record: logging.LogRecord = event["_record"]
    if left_out := getattr(record, "repeated", 0):
        event["repeated"] = left_out
    if record.name.partition(".")[0] in _PLAIN_SPOKEN:
        return event
    event["event"] = "library.said"
    event["library"] = record.name
    event["place"] = f"{record.pathname}:{record.lineno}"
    event.pop("stack_info", None)
    return event


def _tell_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    _log.info("library.warned", category=category.__name__, place=f"{filename}:{lineno}")


def _tell_end_of_thread(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_type is not SystemExit:
        name = ended.thread.name if ended.thread else ""
        _log.error("thread.ended", thread=name, exc_info=ended.exc_value or True)


def _tell_end_of_process(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
    else:
        _log.critical("process.ended", exc_info=error)


def _tell_unraisable(ended: sys.UnraisableHookArgs) -> None:
    _log.error("error.unraised", exc_info=ended.exc_value)
