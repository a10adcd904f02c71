"""Logging: events with keys, never a patient name, never a data set.

Our own events go through structlog. Records of libraries pass through the same formatter from
`warning` up, pynetdicom's and pydicom's only from `error` up: their warnings quote values.
"""

from __future__ import annotations

import logging
import sys
from typing import Literal, TextIO

import structlog

_QUOTE_VALUES = ("pydicom", "pynetdicom", "highdicom")


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
    """
    stream = stream or sys.stderr
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
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
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    for name in _QUOTE_VALUES:
        logging.getLogger(name).setLevel(logging.ERROR)
    for name in ("oncopixel_pacs", "training", "sample_dicom"):
        logging.getLogger(name).setLevel(level.upper())
