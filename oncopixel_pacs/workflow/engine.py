"""The workflow engine (DBOS) behind the few words that this product needs of it.

Nothing outside `workflow` knows which engine runs. It keeps its tables beside the ledger in the
same database, so that a job and its place in the queue commit together.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from dbos import (
    DBOS,
    DBOSClient,
    DBOSConfig,
    DBOSPortableJSONSerializer,
    EnqueueOptions,
    Queue,
    WorkflowStatus,
)
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.workflow.steps import Steps

#: Version of the workflows below, a number. Recovery and dequeuing match on it: it stays as it is
#: when the product's version changes, so that an upgrade takes over work in flight. It grows when
#: their steps change; work of an older version is then begun again by the reconciler.
ENGINE_VERSION = "1"
#: State told of a workflow that no executor of this version will ever run.
OUTDATED = "OUTDATED"
_WAITING = ("ENQUEUED", "PENDING", "DELAYED")
_ENDED_WELL = "SUCCESS"
_NOT_ENDED_WELL = [*_WAITING, "ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"]
#: Most ids in one statement; SQLite takes 32,766 parameters.
_AT_A_TIME = 5000
_APPLICATION = "oncopixel"
_STUDY_QUEUE = "study"
_POLL_SECONDS = 0.25
#: A study waits for its first look; a delivery for its network.
_STUDY_POLL_SECONDS = 0.1
#: While there is nothing to do.
_REST_POLL_SECONDS = 1.0
#: Starts of one workflow after which it counts as the one that kills the server.
_MAX_STARTS = 100
#: Attempts at a step that fails for want of disk or database, a second apart and then longer.
_STEP_ATTEMPTS = 8


@dataclass(frozen=True, slots=True)
class Running:
    """One workflow that a host has under way."""

    workflow_id: str
    queue: str
    executor: str

    @property
    def job_id(self) -> str:
        """The job that it works on."""
        return self.workflow_id.partition("-")[0]

    @property
    def is_study(self) -> bool:
        """Whether it analyses, rather than delivers."""
        return self.queue == _STUDY_QUEUE


class WorkQueue:
    """Hands work to the engine, inside the caller's own transaction. Any process may."""

    def __init__(self, engine: Engine) -> None:
        self._client = DBOSClient(
            system_database_engine=engine,
            serializer=DBOSPortableJSONSerializer(),
            # Else a database that is away would block the caller until it is back.
            retry_connection_errors=False,
        )

    def enqueue_study(self, session: Session, job_id: str, run: int) -> None:
        """Queue the work on a job; a second call for the same run changes nothing."""
        self._client.enqueue_in_transaction(
            session,
            {
                "workflow_name": "study",
                "queue_name": _STUDY_QUEUE,
                "workflow_id": f"{job_id}-{run}",
                "app_version": ENGINE_VERSION,
            },
            job_id,
            run,
        )

    def enqueue_delivery(
        self, session: Session, job_id: str, run: int, destination: str, attempt: int = 1
    ) -> None:
        """Queue the delivery of a job to one destination; idempotent like `enqueue_study`.

        Parameters
        ----------
        attempt
            Another number is another attempt.
        """
        options: EnqueueOptions = {
            "workflow_name": "delivery",
            "queue_name": _delivery_queue(destination),
            "workflow_id": f"{job_id}-{run}-{destination}-{attempt}",
            "app_version": ENGINE_VERSION,
        }
        self._client.enqueue_in_transaction(session, options, job_id, run, destination, attempt)

    def enqueue_proof(
        self, session: Session, destination: str, sop_instance_uids: list[str], attempt: int
    ) -> None:
        """Queue asking a destination whether it has these objects; another number, once more."""
        options: EnqueueOptions = {
            "workflow_name": "proof",
            "queue_name": _delivery_queue(destination),
            "workflow_id": f"proof-{destination}-{attempt}",
            "app_version": ENGINE_VERSION,
        }
        self._client.enqueue_in_transaction(session, options, destination, sop_instance_uids)

    def states(self, job_ids: list[str]) -> dict[str, str]:
        """State of every workflow of these jobs, in the engine's words or `OUTDATED`, by its id.

        For a few jobs: the engine has no index for it and reads all that it remembers for each.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        return {
            key: state
            for job_id in job_ids
            for key, state in self._listed(workflow_id_prefix=f"{job_id}-")
        }

    def glance(self, runs: Mapping[str, int]) -> dict[str, str]:
        """State of the study's own workflow of each run, and of all others that did not end well.

        For any number of jobs; tells and raises like `states`.
        """
        studies = [f"{job_id}-{run}" for job_id, run in runs.items()]
        found = dict(self._listed(status=_NOT_ENDED_WELL))
        for begin in range(0, len(studies), _AT_A_TIME):
            found.update(self._listed(workflow_ids=studies[begin : begin + _AT_A_TIME]))
        return found

    def _listed(self, **which: Any) -> Iterator[tuple[str, str]]:
        try:
            for item in self._client.list_workflows(load_input=False, load_output=False, **which):
                yield item.workflow_id, _state_of(item)
        except SQLAlchemyError as exc:
            raise _away(exc) from exc

    def running(self) -> tuple[Running, ...]:
        """Everything that some host has under way, or had when it died.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        try:
            found = self._client.list_workflows(
                status="PENDING", app_version=ENGINE_VERSION, load_input=False, load_output=False
            )
        except SQLAlchemyError as exc:
            raise _away(exc) from exc
        return tuple(
            Running(item.workflow_id, item.queue_name or _STUDY_QUEUE, item.executor_id or "")
            for item in found
        )

    def running_on(self, executor: str) -> tuple[Running, ...]:
        """List what one host has under way; raises like `running`."""
        return tuple(item for item in self.running() if item.executor == executor)

    def queue_again(self, work: Iterable[Running]) -> None:
        """Put running work back into its queue; whoever ran it cannot record anything any more.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        by_queue: dict[str, list[str]] = {}
        for item in work:
            by_queue.setdefault(item.queue, []).append(item.workflow_id)
        try:
            for name, workflow_ids in by_queue.items():
                # Named, or it would move to a queue of the engine's own.
                self._client.resume_workflows(workflow_ids, queue_name=name)
        except SQLAlchemyError as exc:
            raise _away(exc) from exc

    def hand_back(self, job_id: str, run: int) -> None:
        """Put back work on a job that this host has under way; any host may go on with it.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        self.queue_again([Running(f"{job_id}-{run}", _STUDY_QUEUE, "")])

    def cancel(self, work: Running) -> None:
        """Take work out for good.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        try:
            self._client.cancel_workflow(work.workflow_id)
        except SQLAlchemyError as exc:
            raise _away(exc) from exc

    def forget(self, job_ids: Sequence[str]) -> None:
        """Delete what the engine remembers of jobs that are over.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        self.delete(list(self.states(list(job_ids))))

    def ended_well(self, before: datetime, skip: int, number: int) -> list[str]:
        """Ids of the oldest workflows that ended well before then, past the first ones.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        ended = self._listed(
            status=_ENDED_WELL, completed_before=before.isoformat(), limit=number, offset=skip
        )
        return [key for key, _ in ended]

    def delete(self, workflow_ids: list[str]) -> None:
        """Delete what the engine remembers of workflows; raises like `forget`."""
        try:
            self._client.delete_workflows(workflow_ids)
        except SQLAlchemyError as exc:
            raise _away(exc) from exc

    def close(self) -> None:
        """Let go of the engine's client."""
        self._client.destroy()


def _state_of(workflow: WorkflowStatus) -> str:
    waits = workflow.status in _WAITING
    older = int(workflow.app_version or ENGINE_VERSION) < int(ENGINE_VERSION)
    return OUTDATED if waits and older else workflow.status


def _away(exc: SQLAlchemyError) -> OutOfResources:
    return OutOfResources(
        f"The engine's tables cannot be reached now ({type(exc).__name__}); check the database."
    )


class Executor:
    """Runs workflows in this process: one per host, named after it.

    Parameters
    ----------
    destinations
        Deliveries that this host has under way at a time, by name of the destination.
    """

    def __init__(
        self, engine: Engine, name: str, destinations: Mapping[str, int], steps: Steps
    ) -> None:
        self._destinations = destinations
        #: Each queue with how often it is asked while there is work.
        self._queues: list[tuple[Queue, float]] = []
        config: DBOSConfig = {
            "name": _APPLICATION,
            "system_database_engine": engine,
            "application_version": ENGINE_VERSION,
            "executor_id": name,
            # The default serializer is pickle, which no database row should decide about.
            "serializer": DBOSPortableJSONSerializer(),
            "enable_otlp": False,
            "log_level": "WARNING",
            # Nobody waits for its notifications, but a stop waits for their listener to wake up.
            "notification_listener_polling_interval_sec": 0.1,
        }
        DBOS(config=config)
        # The engine gives its logger a handler of its own; it shall speak like everyone else.
        logger = logging.getLogger("dbos")
        logger.handlers.clear()
        logger.propagate = True
        _register(steps)

    def start(self, studies_at_a_time: int = 1) -> None:
        """Take up what an earlier process left, then new work."""
        DBOS.launch()
        self._listen(_STUDY_QUEUE, studies_at_a_time, _STUDY_POLL_SECONDS)
        for name, deliveries_at_a_time in self._destinations.items():
            self._listen(_delivery_queue(name), deliveries_at_a_time, _POLL_SECONDS)

    def rest(self, rests: bool) -> None:
        """Look for work once a second, or as often as is good for work that comes.

        It holds for all hosts, and from each queue's next look on.

        Raises
        ------
        OutOfResources
            When the database is away.
        """
        try:
            for queue, poll_seconds in self._queues:
                queue.set_polling_interval_sec(_REST_POLL_SECONDS if rests else poll_seconds)
        except SQLAlchemyError as exc:
            raise _away(exc) from exc

    def stop(self) -> None:
        """Stop taking work; what runs is taken up again at the next start."""
        DBOS.destroy(destroy_registry=True)

    def _listen(self, name: str, at_a_time: int, poll_seconds: float) -> None:
        queue = DBOS.register_queue(
            name,
            worker_concurrency=at_a_time,
            polling_interval_sec=poll_seconds,
            on_conflict="always_update",
        )
        self._queues.append((queue, poll_seconds))


def _register(steps: Steps) -> None:
    """Tell the engine what its workflows are. This is the whole flow."""
    retried: dict[str, Any] = {"retries_allowed": True, "max_attempts": _STEP_ATTEMPTS}

    @DBOS.step(name="analyse", **retried)
    def analyse(job_id: str, run: int) -> None:
        steps.analyse(job_id, run)

    @DBOS.step(name="write", **retried)
    def write(job_id: str, run: int) -> None:
        steps.write(job_id, run)

    @DBOS.step(name="deliver", **retried)
    def deliver(job_id: str, run: int, destination: str) -> None:
        steps.deliver(job_id, run, destination)

    @DBOS.step(name="prove", **retried)
    def prove(destination: str, sop_instance_uids: list[str]) -> None:
        steps.prove(destination, sop_instance_uids)

    @DBOS.workflow(name="proof", max_recovery_attempts=_MAX_STARTS)
    def proof(destination: str, sop_instance_uids: list[str]) -> None:
        prove(destination, sop_instance_uids)

    @DBOS.workflow(name="study", max_recovery_attempts=_MAX_STARTS)
    def study(job_id: str, run: int) -> None:
        analyse(job_id, run)
        write(job_id, run)

    @DBOS.workflow(name="delivery", max_recovery_attempts=_MAX_STARTS)
    def delivery(job_id: str, run: int, destination: str, attempt: int) -> None:
        # One attempt. Whoever waits for another waits in the outbox, and keeps nobody from
        # sending; `attempt` tells one from another.
        del attempt
        deliver(job_id, run, destination)


def _delivery_queue(destination: str) -> str:
    return f"deliver:{destination}"
