"""The one way in: check the header, make the bytes durable, record them."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import structlog
from pynetdicom.dsutils import split_dataset

from oncopixel_pacs.digests import ALGORITHMS, IN_USE, algorithm_of, dataset_digest
from oncopixel_pacs.domain import ImageFacts, Instance, IntakeOutcome, StudyHeader
from oncopixel_pacs.domain.rules import Origin
from oncopixel_pacs.errors import (
    CannotUnderstand,
    DatasetMismatch,
    IntakeRefused,
    OutOfResources,
)
from oncopixel_pacs.imaging.header import read_image_facts, read_study_header
from oncopixel_pacs.imaging.plain_header import PlainHeaders
from oncopixel_pacs.receive import commitment
from oncopixel_pacs.receive.header import (
    PARSE_ERRORS,
    Header,
    read_header,
    read_received_header,
)
from oncopixel_pacs.receive.privacy import quieten_libraries
from oncopixel_pacs.receive.shared_processor import run_anywhere
from oncopixel_pacs.receive.spool import Received
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.files import FileStore, StorageAway, relative_path
from oncopixel_pacs.store.free_space import disk_advice
from oncopixel_pacs.store.group_commit import GroupCommit

log = structlog.get_logger()


def _unheard(_error: Exception) -> None:
    """Nobody asks."""


def _never_same(_held: Path, _new: Path) -> bool:
    """Nobody looks."""
    return False


class Intake:
    """Takes objects in, from the network or from disk.

    An object is safe when a method returns: file synced and under its name, folder synced, row
    committed. Objects that arrive at the same time share a commit. When it raises, nothing
    was recorded; a file without a row may remain, and counts for nothing until the object is
    sent again or `adopt_orphans` finds it.

    Parameters
    ----------
    now
        Clock, timezone-aware UTC.
    refused
        Told of each object that a way in refused.
    same
        Whether other content under a known UID, by path after what is held, is the same object in
        another encoding; then it is a duplicate and no conflict, and what was held stays.
    """

    def __init__(
        self,
        files: FileStore,
        catalogue: Catalogue,
        now: Callable[[], datetime],
        refused: Callable[[Exception], object] = _unheard,
        same: Callable[[Path, Path], bool] = _never_same,
    ) -> None:
        self.refused = refused
        self._files = files
        self._catalogue = catalogue
        self._now = now
        self._same = same
        # One at a time: both images are in memory.
        self._judging = threading.Lock()
        self._headers = PlainHeaders()
        # Once: whatever is recorded from now on has a digest of the algorithm in use, or is
        # other content under a UID that has not.
        self._holds_older = catalogue.holds_older_digests()
        self._group = GroupCommit(self._commit)
        quieten_libraries()

    @property
    def incoming(self) -> Path:
        """Where a file must lie before `accept` takes it."""
        return self._files.incoming

    @property
    def keeps_on_disk(self) -> bool:
        """Whether to keep an object takes this host alone, and no bucket."""
        return not self._files.is_cache

    def accept(
        self,
        received: Received,
        sop_class_uid: str,
        sop_instance_uid: str,
        transfer_syntax: str,
        calling_ae_title: str,
        called_ae_title: str = "",
        association_at: datetime | None = None,
    ) -> IntakeOutcome:
        """Take in the data set of a C-STORE request.

        Parameters
        ----------
        received
            Complete Part 10 file inside `incoming`; it is moved to its place.
        sop_class_uid, sop_instance_uid
            Affected SOP Class and Instance UID of the command set (PS3.7 9.3.1.1).
        transfer_syntax
            Negotiated transfer syntax.
        calling_ae_title, called_ae_title
            Of the association; rules of models may choose by them.
        association_at
            When it began, for the study's trace.

        Raises
        ------
        CannotUnderstand
            The data set cannot be parsed, ends in its header, or lacks a UID.
        DatasetMismatch
            The data set is not the object that the command names.
        OutOfResources
            Disk or database cannot take it now.
        """
        with _disk_errors():
            facts, study = self._described(received, transfer_syntax)
            _require_same("SOPClassUID", facts.sop_class_uid, sop_class_uid)
            _require_same("SOPInstanceUID", facts.sop_instance_uid, sop_instance_uid)
            origin = Origin(calling_ae_title, called_ae_title)
            return self._keep(received, facts, study, origin, association_at)

    def accept_file(self, path: Path, calling_ae_title: str = "") -> IntakeOutcome:
        """Take in a copy of a Part 10 file (PS3.10) that lies somewhere on disk.

        Raises
        ------
        CannotUnderstand
            It is no Part 10 file, cannot be parsed, ends in its header, or lacks a UID.
        OutOfResources
            Disk or database cannot take it now.
        """
        with _disk_errors():
            handle, name = tempfile.mkstemp(dir=self._files.incoming, suffix=".part")
            temp = Path(name)
            try:
                with os.fdopen(handle, "wb") as target, path.open("rb") as source:
                    shutil.copyfileobj(source, target, 1 << 20)
                return self.accept_received(temp, calling_ae_title)
            finally:
                temp.unlink(missing_ok=True)

    def accept_received(self, temp: Path, source: str) -> IntakeOutcome:
        """Take in a Part 10 file (PS3.10) that was written into `incoming`; it is moved.

        Parameters
        ----------
        temp
            Complete file inside `incoming`; the caller removes it when this raises.
        source
            Who sent it, in the place of a calling AE title.

        Raises
        ------
        CannotUnderstand
            It is no Part 10 file, cannot be parsed, ends in its header, or lacks a UID.
        OutOfResources
            Disk or database cannot take it now.
        """
        with _disk_errors(), _opened(temp) as (received, header):
            return self._keep(received, *describe(header), Origin(source))

    def adopt_orphans(self) -> int:
        """Record files that were kept but have no row: the process died between the two.

        They were never acknowledged, so the sender will send them again; until then they
        count as received. Files that do not pass the checks stay where they are, without a
        row, and are named in the log. Idempotent.

        Returns
        -------
        int
            Number of files that got their row.
        """
        known = self._catalogue.known_paths()
        # Of several contents under one UID the first to come is held, as when they came.
        orphans = self._files.oldest_first(set(self._files.stored_paths()) - known)
        adopted = 0
        for orphan in orphans:
            try:
                adopted += self._adopt(orphan)
            except IntakeRefused as exc:
                log.warning("intake.orphan_refused", path=orphan, reason=exc.for_log)
        return adopted

    def judge(self, request: commitment.Request) -> tuple[commitment.Verdict, ...]:
        """Say of each instance whether it is safe here: row committed, bytes as received.

        Never raises for an instance that is not; see `commitment.judge`.
        """
        verdicts = commitment.judge(
            request,
            self._catalogue.holdings,
            lambda path, digest: is_intact(self._files.absolute(path), digest),
        )
        for verdict in verdicts:
            if verdict.failure == commitment.PROCESSING_FAILURE:
                log.error("commitment.damaged", sop_instance_uid=verdict.reference.sop_instance_uid)
        return verdicts

    def _adopt(self, orphan: str) -> bool:
        path = self._files.absolute(orphan)
        # A second name in `incoming`: from there it takes the same way as any other object.
        temp = self._files.incoming / f"{path.stem}.orphan"
        with _disk_errors():
            temp.unlink(missing_ok=True)
            os.link(path, temp)
            try:
                with _opened(temp) as (received, header):
                    uid = header.uid("SOPInstanceUID")
                    received = _as_named(received, uid, orphan)
                    outcome = self._keep(received, *describe(header), Origin())
            finally:
                temp.unlink(missing_ok=True)
        log.info("intake.orphan_adopted", path=orphan, outcome=outcome.value)
        return True

    def _described(
        self, received: Received, transfer_syntax: str
    ) -> tuple[ImageFacts, StudyHeader]:
        content = received.beginning
        described = self._headers.read(content, transfer_syntax)
        if described is None:
            described = describe(read_received_header(received, transfer_syntax))
            self._headers.remember(content, transfer_syntax, described[0])
        return described

    def _keep(
        self,
        received: Received,
        facts: ImageFacts,
        study: StudyHeader,
        origin: Origin,
        association_at: datetime | None = None,
    ) -> IntakeOutcome:
        uid = facts.sop_instance_uid
        digest = self._digest(uid, received)
        self._group.announce()
        try:
            path = self._files.place(received.path, received.descriptor, uid, digest)
            instance = Instance(
                facts,
                path,
                digest,
                received.size,
                self._now(),
                origin.calling_ae_title,
                origin.called_ae_title,
                association_at,
            )
        except BaseException:
            self._group.withdraw()
            raise
        outcome = self._group.commit((instance, study), announced=True)
        if outcome is IntakeOutcome.CONFLICT and self._is_same(instance):
            return IntakeOutcome.DUPLICATE
        if not self._is_kept(facts, path):
            # The same object was deleted by policy between the two; its sender has it still.
            raise OutOfResources("The object was being deleted; send it again.")
        return outcome

    def _is_same(self, new: Instance) -> bool:
        """Whether what was recorded as a conflict is none; then it leaves no trace.

        Whoever sends it at the same time comes to the same judgement about the same path.
        """
        uid = new.facts.sop_instance_uid
        holding = self._catalogue.holdings([uid]).get(uid)
        if holding is None:
            return False
        held = self._files.absolute(holding.files[0][0])
        # It may start the processes that decode.
        run_anywhere()
        with self._judging:
            if not self._same(held, self._files.absolute(new.path)):
                return False
        if self._catalogue.forget_conflict(uid, new.digest):
            self._files.discard(new.path)
        log.info("intake.same_object", sop_instance_uid=uid)
        return True

    def _digest(self, uid: str, received: Received) -> str:
        """Digest to record and to compare by: of the algorithm by which the UID is held."""
        if not self._holds_older and algorithm_of(received.digest) == IN_USE:
            return received.digest
        held = self._catalogue.digest_of(uid)
        if held is None or algorithm_of(held) == algorithm_of(received.digest):
            return received.digest
        return dataset_digest(received.path, received.offset, algorithm_of(held))

    def _is_kept(self, facts: ImageFacts, path: str) -> bool:
        """Whether file and row are both there, the row for good: nothing deletes it now."""
        if not self._files.holds(path):
            return False
        if self._files.is_cache and self._catalogue.was_deleted(facts.study_instance_uid):
            # What was put in the bucket before its row may have left it as the file of the old.
            held = self._catalogue.holdings([facts.sop_instance_uid]).get(facts.sop_instance_uid)
            if held is None or path not in {item for item, _ in held.files}:
                return False
            self._files.complete(path)
        return True

    def _commit(
        self, batch: Sequence[tuple[Instance, StudyHeader]]
    ) -> list[IntakeOutcome | Exception]:
        return self._catalogue.add_instances(batch)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[Received, Header]]:
    """Describe a file that someone else wrote as if it had just been received."""
    header = read_header(path)
    descriptor = os.open(path, os.O_RDONLY)
    try:
        digest = dataset_digest(path, header.offset)
        size = path.stat().st_size
        yield Received(path, descriptor, header.offset, size, digest, b""), header
    finally:
        os.close(descriptor)


def _as_named(received: Received, uid: str, path: str) -> Received:
    """Give a kept file with the digest that its path was made from."""
    for digest in _digests(received):
        if relative_path("instances", uid, digest) == path:
            return replace(received, digest=digest)
    raise CannotUnderstand("Its bytes are not those its name was made from.")


def _digests(received: Received) -> Iterator[str]:
    """Give its digest, and only when asked for more those of other algorithms."""
    yield received.digest
    for algorithm in ALGORITHMS:
        if algorithm != algorithm_of(received.digest):
            yield dataset_digest(received.path, received.offset, algorithm)


def is_intact(path: Path, digest: str) -> bool:
    """Whether the data set of a Part 10 file has this digest; raises `OSError` without a file."""
    try:
        _, offset = split_dataset(path)
    except PARSE_ERRORS:
        return False
    return dataset_digest(path, offset, algorithm_of(digest)) == digest


def describe(header: Header) -> tuple[ImageFacts, StudyHeader]:
    """Read what is kept of a header; raises `CannotUnderstand`."""
    for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
        header.uid(keyword)
    try:
        facts = read_image_facts(header.dataset)
        study = read_study_header(header.dataset)
    except PARSE_ERRORS as exc:
        raise CannotUnderstand(
            "An attribute of the header cannot be read; check the object at the sender."
        ) from exc
    return replace(facts, has_pixel_data=header.has_pixel_data), study


def _require_same(keyword: str, held: str, affected: str) -> None:
    if held != affected:
        raise DatasetMismatch(f"{keyword} of data set and command differ.")


@contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except StorageAway as exc:
        raise OutOfResources(f"{exc} Send the object again later.") from exc
    except OSError as exc:
        raise OutOfResources(
            f"The disk does not take the object ({exc.strerror or exc}); {disk_advice(exc)}."
        ) from exc
