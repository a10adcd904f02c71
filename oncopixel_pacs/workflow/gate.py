"""The gate: what does not pass our rules or the installed validators is held back, never sent.

A set of results is one statement. When one object of it is wrong, nothing tells which of the
others is right, and most refer to each other; so the whole set is held back.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import structlog
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import Job, QuarantinedObject
from oncopixel_pacs.errors import ResultRejected
from oncopixel_pacs.report.built_object import BuiltObject
from oncopixel_pacs.report.external_validation import find_errors
from oncopixel_pacs.report.validation import Problem, find_problems, sentence_of
from oncopixel_pacs.settings import ResultSettings
from oncopixel_pacs.store.files import FileStore
from oncopixel_pacs.store.quarantine import Quarantine

log = structlog.get_logger()


@dataclass(frozen=True)
class Gate:
    """Checks the results of a job before they are stored and sent."""

    quarantine: Quarantine
    files: FileStore
    settings: ResultSettings
    now: Callable[[], datetime]

    def require(
        self,
        job: Job,
        objects: Sequence[BuiltObject],
        sources: Mapping[str, Path],
        superseded: Sequence[Dataset],
    ) -> None:
        """Let the results of a job pass.

        Parameters
        ----------
        sources
            Part 10 file of each image by SOP Instance UID.
        superseded
            Headers of earlier results that a rejection note refers to.

        Raises
        ------
        ResultRejected
            Listing what is wrong; everything is in quarantine then.
        """
        with ThreadPoolExecutor(1, thread_name_prefix="validators") as beside:
            # They are processes of their own: while they work our rules are applied here.
            asked = beside.submit(self._ask_validators, job, objects)
            problems = find_problems(objects, sources, superseded)
            problems = problems or asked.result()
        if problems:
            self._hold(job, objects, problems)
            raise ResultRejected(sentence_of(problems))
        self.quarantine.resolve(job.id, self.now())

    def _ask_validators(self, job: Job, objects: Sequence[BuiltObject]) -> tuple[Problem, ...]:
        if self.settings.validators != "auto":
            return ()
        with tempfile.TemporaryDirectory(prefix="oncopixel-gate-") as folder:
            paths = {}
            for number, item in enumerate(objects):
                path = Path(folder) / f"{number}.dcm"
                path.write_bytes(item.part10)
                paths[path] = item
            report = find_errors(list(paths), self.settings.validator_seconds)
        if not report.finished:
            # A slow validator says nothing about the results.
            log.warning("gate.validators_out_of_time", job_id=job.id)
        return tuple(
            Problem(paths[path].sop_instance_uid, f"{paths[path].series_description}: {said}")
            for path, said in report.errors
        )

    def _hold(self, job: Job, objects: Sequence[BuiltObject], problems: Sequence[Problem]) -> None:
        of_set = tuple(item.sentence for item in problems if not item.sop_instance_uid)
        now, held = self.now(), []
        for item in objects:
            path, digest = self.files.write(item.part10, "quarantine", item.sop_instance_uid)
            own = [p.sentence for p in problems if p.sop_instance_uid == item.sop_instance_uid]
            held.append(
                QuarantinedObject(
                    job_id=job.id,
                    kind=item.kind,
                    sop_instance_uid=item.sop_instance_uid,
                    series_description=item.series_description,
                    path=path,
                    sha256=digest,
                    size_bytes=len(item.part10),
                    problems=(*own, *of_set),
                    held_at=now,
                )
            )
        self.quarantine.hold(held)
        log.error("gate.held_back", job_id=job.id, objects=len(held), problems=len(problems))
