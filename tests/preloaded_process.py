"""Lives of ``oncopixel serve``, each in a fork of a process that has imported everything.

``python -m tests.preloaded_process`` reads the arguments of a life, as JSON, from each line of
standard input, tells the id of its process, and then that it is over. What it says goes to
standard error.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable


def main() -> None:
    """Live as often as told; the children of multiprocessing import this module, and no more."""
    # The command loads these when it runs.
    import oncopixel_pacs.api_server
    import oncopixel_pacs.cli.serve
    import oncopixel_pacs.receive_server
    import oncopixel_pacs.work_server  # noqa: F401
    from oncopixel_pacs.cli import main as run

    for line in sys.stdin:
        child = os.fork()
        if not child:
            _live(run, json.loads(line))
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()
        os.waitpid(child, 0)
        sys.stdout.write("over\n")
        sys.stdout.flush()


def _live(run: Callable[[], object], arguments: list[str]) -> None:
    code = 1
    try:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        sys.argv = ["oncopixel", *arguments]
        run()
        code = 0
    except SystemExit as exc:
        code = exc.code if isinstance(exc.code, int) else 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
