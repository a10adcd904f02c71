"""A model process without models: it tells how many studies it read together, waits, or dies."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Sequence
from multiprocessing.connection import Connection

from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.infer.device_child import ANSWERS, Answer
from oncopixel_pacs.settings import InferenceSettings, ModelSettings

#: A study with this revision ends the process.
FATAL = 13


def serve(
    connection: Connection,
    parent_pid: int,
    models: Sequence[ModelSettings],
    inference: InferenceSettings,
    niceness: int = 0,
    number: int = 0,
) -> None:
    """Run in the child.

    A study leaves a file ``begun`` among its labels. The round waits until there is no ``hold``
    there, and the answer to a study until there is no ``hold-`` with its revision.
    """
    connection.send_bytes(ANSWERS.dump_json((Answer(device="pretended"),)))
    pause = threading.Event()
    while True:
        try:
            requests = connection.recv()
        except EOFError:
            return
        for item in requests:
            (item.labels_dir / "begun").touch()
        while any((item.labels_dir / "hold").exists() for item in requests):
            pause.wait(0.01)
        together = {"together": float(len(requests))}
        for item in requests:
            while (item.labels_dir / f"hold-{item.revision}").exists():
                pause.wait(0.01)
            if item.revision == FATAL:
                os.kill(os.getpid(), signal.SIGKILL)
            result = StudyResult(
                item.study_instance_uid, item.revision, (), (), {}, None, "", together
            )
            connection.send_bytes(ANSWERS.dump_json((Answer(result=result),)))
