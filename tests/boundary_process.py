"""Lives of one server, each of which ends with kill -9 at a boundary between two steps.

``python -m tests.boundary_process CONFIG`` imports everything once; for each boundary that it
reads from standard input it starts a server in a fork of itself, and says when it is dead.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from workflow_builder import PretendedPool  # noqa: E402

from oncopixel_pacs import bootstrap, receive_server, work_server  # noqa: E402, F401
from oncopixel_pacs.logs import configure_logging  # noqa: E402
from oncopixel_pacs.settings import load_settings  # noqa: E402
from oncopixel_pacs.store.catalogue import Catalogue  # noqa: E402
from oncopixel_pacs.store.files import FileStore  # noqa: E402
from oncopixel_pacs.store.ledger import Ledger  # noqa: E402

#: Where the plug is pulled: before or after a call.
BOUNDARIES: dict[str, tuple[type[Any], str, bool]] = {
    "the image has its place and no row": (FileStore, "place", True),
    "the row is committed and nothing answered": (Catalogue, "add_instances", True),
    "the study is settled and its job queued": (Catalogue, "settle", True),
    "the analysis is about to begin": (PretendedPool, "analyse", False),
    "the analysis is done and nothing kept": (Ledger, "save_result", False),
    "the result is kept": (Ledger, "save_result", True),
    "the results are on disk and have no rows": (Ledger, "add_objects", False),
    "the deliveries are queued": (Ledger, "add_objects", True),
    "the delivery is about to begin": (Ledger, "begin_delivery", True),
    "the archive has it and nothing is recorded": (Ledger, "record_delivery", False),
    "the delivery of one of two is recorded": (Ledger, "record_delivery", True),
    "everything is recorded and the job not closed": (Ledger, "close_delivery", False),
}
NOWHERE = "nowhere"


def _pull_plug(owner: type[Any], name: str, *, after: bool) -> None:
    real: Callable[..., Any] = getattr(owner, name)

    def pulled(*args: Any, **kwargs: Any) -> Any:
        if after:
            real(*args, **kwargs)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, name, pulled)


def _live(config: Path, boundary: str) -> None:
    if boundary != NOWHERE:
        owner, name, after = BOUNDARIES[boundary]
        _pull_plug(owner, name, after=after)
    work_server.DevicePool = lambda *_: PretendedPool()  # type: ignore[assignment,misc]
    settings = load_settings(config)
    configure_logging(settings.log_level, "json")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = bootstrap.Server(settings, (bootstrap.Role.WORK, bootstrap.Role.RECEIVE))
    server.start()
    stopped.wait()
    server.stop()


def main() -> None:
    """Live and die as often as told."""
    config = Path(sys.argv[1])
    for line in sys.stdin:
        child = os.fork()
        if not child:
            try:
                _live(config, line.strip())
            finally:
                os._exit(0)
        print(child, flush=True)
        _, status = os.waitpid(child, 0)
        print("killed" if os.WIFSIGNALED(status) else "ended", flush=True)


if __name__ == "__main__":
    main()
