"""Takes uploads in: looks at the files, has them unpacked and wrapped, hands them to the intake."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import structlog

from oncopixel_pacs.digests import algorithm_of, dataset_digest
from oncopixel_pacs.domain import IntakeOutcome
from oncopixel_pacs.domain.uids import derive_uid
from oncopixel_pacs.domain.uploads import (
    UPLOAD_SOURCE,
    FileOutcome,
    RefusalKind,
    Upload,
    UploadedFile,
    UploadedImage,
)
from oncopixel_pacs.errors import IntakeRefused, OutOfResources, UploadRefused
from oncopixel_pacs.imaging.header import read_image_facts
from oncopixel_pacs.receive.header import read_header
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.upload.archives import Entry
from oncopixel_pacs.receive.upload.formats import HEAD_BYTES, FileKind, kind_of
from oncopixel_pacs.receive.upload.secondary_capture import image_uid
from oncopixel_pacs.receive.upload.unpacking import unpack
from oncopixel_pacs.receive.upload.unpacking_child import Orders, UnpackOrder, WrapOrder
from oncopixel_pacs.settings.uploads import UploadSettings
from oncopixel_pacs.store.catalogue import Catalogue
from oncopixel_pacs.store.uploads import Uploads

log = structlog.get_logger()

_OUTCOMES = {
    IntakeOutcome.NEW: (FileOutcome.RECEIVED, ""),
    IntakeOutcome.DUPLICATE: (FileOutcome.DUPLICATE, "The image was here before."),
    IntakeOutcome.CONFLICT: (
        FileOutcome.CONFLICT,
        "Another image is held under its SOP Instance UID; this one is not analysed unless it is "
        "taken in its place on the page of the study.",
    ),
}


@dataclass(frozen=True, slots=True)
class _Sorted:
    """Files of one upload by what they are, in their order."""

    dicom: tuple[UploadedFile, ...]
    archives: tuple[UploadedFile, ...]
    pictures: tuple[tuple[UploadedFile, FileKind], ...]


class UploadDesk:
    """Takes uploads in. One upload is taken whole or refused whole, but for entries of an archive.

    Parameters
    ----------
    now
        Clock, timezone-aware UTC.
    """

    def __init__(
        self,
        intake: Intake,
        catalogue: Catalogue,
        uploads: Uploads,
        limits: UploadSettings,
        now: Callable[[], datetime],
    ) -> None:
        self._intake = intake
        self._catalogue = catalogue
        self._uploads = uploads
        self._limits = limits
        self._now = now
        # Two uploads of one picture, or under one key, at a time would both find that it is new.
        self._one_at_a_time = threading.Lock()

    @property
    def incoming(self) -> Path:
        """Where the files of an upload must lie."""
        return self._intake.incoming

    def take(self, files: Sequence[UploadedFile], key: str = "", complete: bool = True) -> Upload:
        """Take an upload in. The files stay the caller's to remove.

        Parameters
        ----------
        key
            Digest of an idempotency key and its sender: the same with the same files is answered
            with the same upload.
        complete
            Whether nothing more of its studies will come: they are analysed without waiting,
            unless some of their images came another way.

        Raises
        ------
        UploadRefused
            With one sentence; nothing is kept then.
        OutOfResources
            When disk or database cannot take it now; send the same again.
        """
        if not files:
            raise UploadRefused(RefusalKind.MALFORMED, "No file was sent; add at least one.")
        content = _digest_of(files)
        with self._one_at_a_time:
            if known := self._uploads.known(key, self._now()) if key else None:
                if known[1] != content:
                    raise UploadRefused(
                        RefusalKind.UNACCEPTABLE,
                        "The Idempotency-Key was used for another request; take a new one.",
                    )
                return self._uploads.upload(known[0])
            images = self._take(files)
            if complete:
                self._end_the_wait(images)
            now = self._now()
            upload = self._uploads.keep(Upload(content[:24], now, images), key, content, now)
        log.info("upload.taken", upload_id=upload.id, files=len(files), images=len(images))
        return upload

    def _take(self, files: Sequence[UploadedFile]) -> tuple[UploadedImage, ...]:
        given = _sort(files)
        for file in given.dicom:
            _require_readable(file.name, file.path, self._limits.max_pixels)
        held, wraps = self._plan(given.pictures)
        prefix = f"upload-{secrets.token_hex(8)}"
        with _swept(self.incoming, prefix):
            orders = [
                replace(order, target=self.incoming / f"{prefix}-w{number}.part")
                for number, order in enumerate(wraps)
            ]
            archives = [
                UnpackOrder(item.name, item.path, self.incoming, f"{prefix}-{number}")
                for number, item in enumerate(given.archives)
            ]
            entries = unpack(Orders(self._limits, os.getpid(), tuple(orders), tuple(archives)))
            images = [
                *held,
                *(self._keep(order.name, order.target) for order in orders),
                *(self._keep(item.name, item.path) for item in given.dicom),
            ]
            for archive, found in zip(given.archives, entries, strict=True):
                images += self._keep_entries(archive.name, found)
        return tuple(images)

    def _plan(
        self, pictures: Sequence[tuple[UploadedFile, FileKind]]
    ) -> tuple[list[UploadedImage], list[WrapOrder]]:
        """Say which pictures are here already, and how the others are wrapped."""
        named = {image_uid(item.sha256, item.description): item for item, _ in pictures}
        kinds = {item.sha256: kind for item, kind in pictures}
        studies = self._uploads.studies_of(list(named))
        held = [
            UploadedImage(
                named[uid].name, FileOutcome.DUPLICATE, uid, study, "The image was here before."
            )
            for uid, study in studies.items()
        ]
        joined = sorted(set(studies.values()))
        wraps = [
            WrapOrder(
                name=item.name,
                source=item.path,
                kind=kinds[item.sha256],
                size_bytes=item.size_bytes,
                description=item.description,
                sop_instance_uid=uid,
                study_instance_uid=_study_uid(item, list(named), joined),
                target=self.incoming,
            )
            for uid, item in named.items()
            if uid not in studies
        ]
        return held, wraps

    def _keep_entries(self, archive: str, entries: Sequence[Entry]) -> Iterator[UploadedImage]:
        for entry in entries:
            name = f"{archive}/{entry.name}"
            if entry.path is None:
                yield UploadedImage(name, FileOutcome.SKIPPED, detail=entry.skipped)
                continue
            try:
                _require_readable(name, entry.path, self._limits.max_pixels)
                yield self._keep(name, entry.path)
            except OutOfResources:
                raise
            except IntakeRefused as exc:
                yield UploadedImage(name, FileOutcome.SKIPPED, detail=str(exc))

    def _keep(self, name: str, path: Path) -> UploadedImage:
        header = read_header(path)
        sop, study = header.uid("SOPInstanceUID"), header.uid("StudyInstanceUID")
        held = self._catalogue.digest_of(sop)
        digest = dataset_digest(path, header.offset, algorithm_of(held)) if held else ""
        outcome, detail = _OUTCOMES[self._intake.accept_received(path, UPLOAD_SOURCE)]
        conflicts = outcome is FileOutcome.CONFLICT
        return UploadedImage(name, outcome, sop, study, detail, digest if conflicts else "")

    def _end_the_wait(self, images: Sequence[UploadedImage]) -> None:
        fresh = {item.study_instance_uid for item in images if item.outcome is FileOutcome.RECEIVED}
        # A modality may be in the middle of sending the rest of a study.
        for study in sorted(fresh):
            if self._uploads.all_uploaded(study, UPLOAD_SOURCE):
                self._catalogue.mark_complete(study, self._now())


@contextmanager
def _swept(folder: Path, prefix: str) -> Iterator[None]:
    """Remove what is left of the files with this prefix, however the block ends."""
    try:
        yield
    finally:
        for path in folder.glob(f"{prefix}*"):
            path.unlink(missing_ok=True)


def _sort(files: Sequence[UploadedFile]) -> _Sorted:
    kinds = []
    for file in files:
        if not file.size_bytes:
            raise UploadRefused(RefusalKind.MALFORMED, f"{file.name}: The file is empty.")
        with file.path.open("rb") as stream:
            head = stream.read(HEAD_BYTES)
        try:
            kinds.append((file, kind_of(file.name, head)))
        except UploadRefused as exc:
            raise UploadRefused(exc.kind, f"{file.name}: {exc}") from exc
    return _Sorted(
        tuple(file for file, kind in kinds if kind is FileKind.DICOM),
        tuple(file for file, kind in kinds if kind is FileKind.ZIP),
        tuple((file, kind) for file, kind in kinds if kind.picture),
    )


def _require_readable(name: str, path: Path, max_pixels: int) -> None:
    """See that a DICOM file has a header, so that nothing is kept of an upload with a bad one."""
    try:
        header = read_header(path)
        for keyword in ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID"):
            header.uid(keyword)
        facts = read_image_facts(header.dataset)
    except IntakeRefused as exc:
        raise UploadRefused(RefusalKind.UNACCEPTABLE, f"{name}: {exc}") from exc
    except OSError as exc:
        raise OutOfResources(f"The upload cannot be read ({exc.strerror}); send again.") from exc
    if facts.rows * facts.columns > max_pixels:
        raise UploadRefused(
            RefusalKind.TOO_LARGE,
            f"{name}: The image has {facts.rows} x {facts.columns} pixels; "
            f"at most {max_pixels} are taken.",
        )


def _study_uid(file: UploadedFile, image_uids: Sequence[str], held_in: Sequence[str]) -> str:
    """Study of a picture: by accession number, else that of the pictures beside it.

    Pictures that come beside one that is held already join its study.
    """
    said = file.description
    if said.accession_number:
        return derive_uid("upload", "study", said.patient_id, said.accession_number)
    if len(held_in) == 1:
        return held_in[0]
    return derive_uid("upload", "study", *sorted(image_uids))


def _digest_of(files: Sequence[UploadedFile]) -> str:
    """Digest of an upload: its files and what is said of them, whatever their names."""
    said = sorted(json.dumps([file.sha256, asdict(file.description)]) for file in files)
    return hashlib.sha256("\n".join(said).encode()).hexdigest()
