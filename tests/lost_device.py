"""A model process on one of two pretended GPUs, which is lost at its first study."""

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
    niceness: int = 0,
    number: int = 0,
) -> None:
    """Run in the child; with the CPU it is the real one."""
    if inference.device == "cpu":
        real_serve(connection, parent_pid, models, inference, niceness, number)
        return
    connection.send_bytes(ANSWERS.dump_json((Answer(device=f"cuda:{number}: Pretended", gpus=2),)))
    asked = connection.recv()
    lost = Answer("DeviceLost", f"The device cuda:{number} gave up; look at its driver.")
    connection.send_bytes(ANSWERS.dump_json((lost,) * len(asked)))
