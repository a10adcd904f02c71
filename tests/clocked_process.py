"""A server whose wall clock a file sets: ``python -m tests.clocked_process CONFIG CLOCK``.

The file holds seconds off the machine's clock. What a library asks of ``time.time`` and what the
product asks of its clock goes by it; the monotonic clock nobody can set, as on any machine.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

CLOCK = Path(sys.argv[2])
_machine_time = time.time


def _set_time() -> float:
    return _machine_time() + float(CLOCK.read_text(encoding="ascii"))


def _set_now() -> datetime:
    return datetime.fromtimestamp(_set_time(), UTC)


# Before anything takes either by name.
time.time = _set_time

from oncopixel_pacs import opening  # noqa: E402

opening.utc_now = _set_now

from workflow_builder import PretendedPool  # noqa: E402

from oncopixel_pacs import bootstrap, work_server  # noqa: E402
from oncopixel_pacs.logs import configure_logging  # noqa: E402
from oncopixel_pacs.settings import load_settings  # noqa: E402


def main() -> None:
    """Serve until told to stop."""
    work_server.DevicePool = lambda *_: PretendedPool()  # type: ignore[assignment,misc]
    settings = load_settings(Path(sys.argv[1]))
    configure_logging(settings.log_level, "json")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = bootstrap.Server(settings, (bootstrap.Role.WORK, bootstrap.Role.RECEIVE))
    server.start()
    stopped.wait()
    server.stop()


if __name__ == "__main__":
    main()
