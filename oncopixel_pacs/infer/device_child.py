"""What runs in the child process: load the models once, then answer one round at a time.

A round is some studies that are read together. When that fails they are read one by one, so that
the one that fails is known and the others have their results.

Requests come pickled from our parent; answers go back as JSON, since the child handles foreign
images and models and the parent must not unpickle what such a process says. torch is imported
only here, after the process has started.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

import structlog
from pydantic import TypeAdapter

from oncopixel_pacs.child_process import belong_to, keep_memory, loading, share_cores, usable_cores
from oncopixel_pacs.domain import StudyResult
from oncopixel_pacs.errors import (
    AnalysisFailed,
    ConfigurationError,
    DeviceLost,
    ModelRefused,
    OutOfResources,
)
from oncopixel_pacs.imaging.decode_pool import DecodePool
from oncopixel_pacs.infer.cards import read_algorithms
from oncopixel_pacs.infer.reading import AnalysisRequest, read_studies
from oncopixel_pacs.logs import configure_logging
from oncopixel_pacs.settings import InferenceSettings, ModelSettings

if TYPE_CHECKING:
    from oncopixel_pacs.infer.loaded_models import LoadedModels


@dataclass(frozen=True, slots=True)
class Answer:
    """The child's word on a request, or on loading the models.

    Attributes
    ----------
    error
        Name of the exception, one of `ERRORS`; empty when all went well.
    device, gpus
        Where the models run, and among how many GPUs; in the first answer only.
    """

    error: str = ""
    message: str = ""
    permanent: bool = False
    device: str = ""
    gpus: int = 0
    result: StudyResult | None = None

    def raise_error(self) -> None:
        """Raise what the child raised, if it did."""
        if self.error == DeviceLost.__name__:
            raise DeviceLost(self.message)
        if self.error == AnalysisFailed.__name__:
            raise AnalysisFailed(self.message, permanent=self.permanent)
        if self.error:
            raise ERRORS[self.error](self.message)


ERRORS: dict[str, type[ModelRefused | ConfigurationError]] = {
    "ModelRefused": ModelRefused,
    "ConfigurationError": ConfigurationError,
}
#: One for each study of a round in its order, in one message or several; one on the loading.
ANSWERS = TypeAdapter(tuple[Answer, ...])


def serve(
    connection: Connection,
    parent_pid: int,
    models: Sequence[ModelSettings],
    inference: InferenceSettings,
    niceness: int = 0,
    number: int = 0,
) -> None:
    """Run in the child until the parent closes its end or dies.

    Parameters
    ----------
    number
        Of this child among those of the server; each takes the next GPU.

    The first answer says whether the models are loaded; when they are not, the child ends.
    """
    belong_to(parent_pid)
    os.nice(niceness)
    # What models print must not come out of the server's standard output.
    os.dup2(sys.__stderr__.fileno() if sys.__stderr__ else os.open(os.devnull, os.O_WRONLY), 1)
    configure_logging()
    share_cores()
    keep_memory()
    try:
        read_algorithms(models)  # says what is wrong before the seconds that torch takes
        with loading():
            from oncopixel_pacs.infer.loaded_models import load_models
        loaded = load_models(models, inference, number)
    except (ModelRefused, ConfigurationError) as exc:
        _send(connection, [Answer(error=type(exc).__name__, message=str(exc))])
        return
    _send(connection, [Answer(device=loaded.device, gpus=loaded.gpus)])
    children = inference.processes or loaded.gpus or 1
    openers = inference.openers or max(usable_cores() // children, 1)
    with closing(loaded), DecodePool(openers) as decoder:
        while (requests := _receive(connection)) is not None:
            for answer in _answers(requests, loaded, decoder, openers):
                _send(connection, [answer])


def _answers(
    requests: Sequence[AnalysisRequest], loaded: LoadedModels, decoder: DecodePool, openers: int
) -> Iterator[Answer]:
    """Answer in the order of the requests, each as soon as its study is read."""

    def alone(request: AnalysisRequest) -> Answer:
        return _answer(request, lambda: tuple(read_studies([request], loaded, decoder, openers))[0])

    left = deque(requests)
    if len(requests) > 1:
        try:
            for result in read_studies(requests, loaded, decoder, openers):
                yield Answer(result=result)
                left.popleft()
        except DeviceLost as exc:
            yield from [Answer(DeviceLost.__name__, str(exc))] * len(left)
            return
        except Exception:  # what is wrong, and with which of them, is found out below
            structlog.get_logger().warning("analysis.read_one_by_one", studies=len(left))
    yield from map(alone, left)


def _answer(request: AnalysisRequest, read: Callable[[], StudyResult]) -> Answer:
    try:
        return Answer(result=read())
    except DeviceLost as exc:
        return Answer(DeviceLost.__name__, str(exc))
    except AnalysisFailed as exc:
        return Answer("AnalysisFailed", str(exc), permanent=exc.permanent)
    except OutOfResources as exc:
        return Answer("AnalysisFailed", str(exc))
    except Exception as exc:  # the top of the worker loop: one study must not end the child
        return _unexpected(exc, request)


def _receive(connection: Connection) -> Sequence[AnalysisRequest] | None:
    try:
        requests: Sequence[AnalysisRequest] = connection.recv()
    except (EOFError, OSError):
        return None
    return requests


def _send(connection: Connection, answers: Sequence[Answer]) -> None:
    try:
        connection.send_bytes(ANSWERS.dump_json(tuple(answers)))
    except OSError:  # the parent is gone
        os._exit(1)


def _unexpected(error: Exception, request: AnalysisRequest) -> Answer:
    # The text of foreign exceptions may quote the data set, so only type and place are told.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{os.path.basename(frame.filename)}:{frame.lineno}"
    structlog.get_logger().error(
        "analysis.unexpected_error",
        study=request.study_instance_uid,
        error=type(error).__name__,
        where=where,
    )
    return Answer(
        "AnalysisFailed",
        f"The analysis stopped with an unexpected {type(error).__name__} at {where}; "
        "report it with the log of this server.",
    )
