"""A model process whose GPU is pretended, and is lost at the first study."""

from __future__ import annotations

from collections.abc import Sequence
from multiprocessing.connection import Connection

from oncopixel_pacs.infer.device_child import ANSWERS, Answer
from oncopixel_pacs.infer.device_child import serve as real_serve
from oncopixel_pacs.settings import InferenceSettings, ModelSettings


def serve(
    connection: Connection,
    parent_pid: int,
    models: Sequence[ModelSettings],
    inference: InferenceSettings,
) -> None:
    """Run in the child; with the CPU it is the real one."""
    if inference.device == "cpu":
        real_serve(connection, parent_pid, models, inference)
        return
    connection.send_bytes(ANSWERS.dump_json(Answer(device="cuda: Pretended")))
    connection.recv()
    lost = Answer("DeviceLost", "The device cuda gave up while model m ran; look at its driver.")
    connection.send_bytes(ANSWERS.dump_json(lost))
