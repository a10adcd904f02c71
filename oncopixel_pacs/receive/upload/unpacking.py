"""Has the child process inflate and decode, and takes its word, its silence or its end."""

from __future__ import annotations

import subprocess
import sys

import structlog
from pydantic import ValidationError

from oncopixel_pacs.domain.uploads import RefusalKind
from oncopixel_pacs.errors import UploadRefused
from oncopixel_pacs.receive.upload.archives import Entry
from oncopixel_pacs.receive.upload.unpacking_child import ORDERS, REPORTS, Orders

log = structlog.get_logger()

_CHILD = "oncopixel_pacs.receive.upload.unpacking_child"


def unpack(orders: Orders) -> tuple[tuple[Entry, ...], ...]:
    """Wrap pictures and unpack archives in a child process. Blocks.

    Returns
    -------
    tuple of tuple of Entry
        Entries of each archive, in the order of the orders.

    Raises
    ------
    UploadRefused
        With what the child says; or when it takes too long or is ended by a limit.
    """
    if not orders.wrap and not orders.unpack:
        return ()
    try:
        done = subprocess.run(  # noqa: S603 - this interpreter and our own module
            [sys.executable, "-m", _CHILD],
            input=ORDERS.dump_json(orders),
            capture_output=True,
            timeout=orders.limits.unpack_seconds,
            check=False,
        )
        report = REPORTS.validate_json(done.stdout)
    except subprocess.TimeoutExpired as exc:
        raise UploadRefused(
            RefusalKind.UNACCEPTABLE,
            f"Opening the files took longer than {orders.limits.unpack_seconds:g} s; "
            "send fewer or smaller ones.",
        ) from exc
    except ValidationError as exc:
        log.warning("upload.child_ended", exit=done.returncode)
        raise UploadRefused(
            RefusalKind.UNACCEPTABLE,
            "The files cannot be opened within the limits on memory and time; export them again.",
        ) from exc
    if report.refusal is not None:
        raise UploadRefused(report.refusal, report.message)
    return report.entries
