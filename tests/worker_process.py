"""One host: the real server with some roles and a model of fixed cost, in a process of its own.

``python -m tests.worker_process CONFIG SECONDS ROLE…``; SECONDS is the cost of one study.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from workflow_builder import PretendedPool  # noqa: E402

from oncopixel_pacs import bootstrap, work_server  # noqa: E402
from oncopixel_pacs.domain import StudyResult  # noqa: E402
from oncopixel_pacs.infer.reading import AnalysisRequest  # noqa: E402
from oncopixel_pacs.logs import configure_logging  # noqa: E402
from oncopixel_pacs.settings import load_settings  # noqa: E402


class FixedCostModel(PretendedPool):
    """Takes so many seconds for each study, one after the other, and no processor."""

    _turn = threading.Lock()

    def analyse(self, request: AnalysisRequest) -> StudyResult:
        """Read a study."""
        with self._turn:
            time.sleep(float(sys.argv[2]))
        return super().analyse(request)


def main() -> None:
    """Serve until SIGTERM."""
    work_server.DevicePool = lambda *_: FixedCostModel()  # type: ignore[assignment,misc]
    settings = load_settings(Path(sys.argv[1]))
    configure_logging(settings.log_level, "json")
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    server = bootstrap.Server(settings, tuple(bootstrap.Role(name) for name in sys.argv[3:]))
    server.start()
    try:
        stopped.wait()
    finally:
        server.stop()


if __name__ == "__main__":
    main()
