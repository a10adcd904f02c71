"""One host: the real server with some roles and a model of fixed cost, in a process of its own.

``python -m tests.worker_process CONFIG SECONDS ROLE…``; SECONDS is the cost of one study.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from workflow_builder import PretendedPool  # noqa: E402

from oncopixel_pacs import bootstrap, work_server  # noqa: E402
from oncopixel_pacs.cli.serve import serve  # noqa: E402
from oncopixel_pacs.domain import StudyResult  # noqa: E402
from oncopixel_pacs.infer.reading import AnalysisRequest  # noqa: E402


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
    serve(Path(sys.argv[1]), [bootstrap.Role(name) for name in sys.argv[3:]])


if __name__ == "__main__":
    main()
