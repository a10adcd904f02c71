"""The objects of one STOW-RS request: written to files while they arrive, then taken in."""

from __future__ import annotations

import os
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import structlog
from pydicom.dataset import Dataset

from oncopixel_pacs.domain import IntakeOutcome
from oncopixel_pacs.errors import CannotUnderstand, DatasetMismatch, IntakeRefused, OutOfResources
from oncopixel_pacs.imaging.codecs import SUPPORTED_TRANSFER_SYNTAXES
from oncopixel_pacs.receive.header import Header, read_header
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.status import UNEXPECTED, status_code
from oncopixel_pacs.store.free_space import FreeSpace, disk_advice

log = structlog.get_logger()

#: Failure reasons of PS3.18 Table 10.5.3-2 that C-STORE has no status for.
PROCESSING_FAILURE = 0x0110
CLASS_NOT_SUPPORTED = 0x0122
SYNTAX_NOT_SUPPORTED = 0xC122
_WRITE_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class StowLimits:
    """What one sender may ask.

    Attributes
    ----------
    part_bytes, total_bytes
        Largest object, and largest request.
    parts
        Most objects in a request.
    idle_seconds
        How long the body may pause.
    requests
        Requests that are taken at a time.
    """

    part_bytes: int = 2 << 30
    total_bytes: int = 16 << 30
    parts: int = 2000
    idle_seconds: float = 60.0
    requests: int = 8


@dataclass(frozen=True, slots=True)
class PartOutcome:
    """What became of one object; UIDs are empty where they are not known.

    Attributes
    ----------
    failure
        Failure Reason (0008,1197); 0 for an object that is safe here.
    comment
        Why, in words.
    """

    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    series_instance_uid: str = ""
    study_instance_uid: str = ""
    failure: int = 0
    comment: str = ""


class UnsupportedPart(Exception):
    """A part that is no DICOM file."""


class TooManyParts(Exception):
    """A request with more objects than one may have."""


class _Refused(IntakeRefused):
    def __init__(self, failure: int, message: str) -> None:
        super().__init__(message)
        self.failure = failure


class StowParts:
    """Takes the parts of one request; see `multipart_related.PartHandler`.

    Each object is safe, or refused with its reason, when its part ends; what comes after it in
    the request does not matter to it.

    Parameters
    ----------
    sop_classes
        Storage SOP classes that are taken.
    study_instance_uid
        The only study that objects may be of; empty for any.
    source
        Who sends, in the place of a calling AE title.
    """

    def __init__(
        self,
        intake: Intake,
        space: FreeSpace,
        limits: StowLimits,
        sop_classes: frozenset[str],
        study_instance_uid: str,
        source: str,
    ) -> None:
        self._intake = intake
        self._space = space
        self._limits = limits
        self._sop_classes = sop_classes
        self._study = study_instance_uid
        self._source = source
        self._temp: Path | None = None
        self._stream: BinaryIO | None = None
        self._size = 0
        self._error: OutOfResources | None = None
        self._outcomes: list[PartOutcome] = []

    @property
    def outcomes(self) -> tuple[PartOutcome, ...]:
        """What became of each object so far, in their order."""
        return tuple(self._outcomes)

    def begin(self, media_type: str) -> None:
        """Begin an object.

        Raises
        ------
        UnsupportedPart, TooManyParts
            The request is not taken any further.
        """
        if media_type not in ("", "application/dicom"):
            raise UnsupportedPart
        if len(self._outcomes) >= self._limits.parts:
            raise TooManyParts
        self._size, self._error = 0, None
        try:
            self._space.require()
            handle, name = tempfile.mkstemp(dir=self._intake.incoming, suffix=".part")
            self._temp = Path(name)
            self._stream = os.fdopen(handle, "wb", buffering=_WRITE_BUFFER_BYTES)
        except OutOfResources as exc:
            self._fail(exc)
        except OSError as exc:
            self._fail(_disk(exc))

    def write(self, data: memoryview) -> None:
        """Append bytes; after an error they are dropped, so that the next part can be read."""
        if self._stream is None:
            return
        self._size += len(data)
        if self._size > self._limits.part_bytes:
            self._fail(
                OutOfResources(
                    f"The object is larger than {self._limits.part_bytes >> 20} MiB, "
                    "the most this server takes."
                )
            )
            return
        try:
            self._stream.write(data)
        except OSError as exc:
            self._fail(_disk(exc))

    def end(self) -> None:
        """Take the object in."""
        header: Header | None = None
        try:
            if self._error is None:
                self._close()
            if self._error is not None or self._temp is None:
                raise self._error or OutOfResources("The object was not written.")
            header = read_header(self._temp)
            self._require_taken(header)
            outcome = self._intake.accept_received(self._temp, self._source)
        except IntakeRefused as exc:
            self._intake.refused(exc)
            failure = exc.failure if isinstance(exc, _Refused) else status_code(exc)
            self._note(header, failure, str(exc))
        except Exception as exc:
            self._intake.refused(exc)
            # Neither message nor values of the trace: both may quote the data set.
            log.error("stow.failed", source=self._source, error=type(exc).__name__)
            self._note(header, PROCESSING_FAILURE, "Unexpected error; see the log.")
        else:
            self._note(header, 0, "", outcome)
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove what is left of an object that did not end. Safe to call again."""
        stream, self._stream = self._stream, None
        temp, self._temp = self._temp, None
        with suppress(OSError):
            if stream is not None:
                stream.close()
        if temp is not None:
            temp.unlink(missing_ok=True)

    def _close(self) -> None:
        stream, self._stream = self._stream, None
        try:
            if stream is not None:
                stream.close()
        except OSError as exc:
            self._fail(_disk(exc))

    def _fail(self, error: OutOfResources) -> None:
        self.discard()
        self._error = error

    def _require_taken(self, header: Header) -> None:
        if header.uid("SOPClassUID") not in self._sop_classes:
            raise _Refused(
                CLASS_NOT_SUPPORTED,
                "Its SOP class is not taken; [receive] further_sop_classes can name it.",
            )
        if header.transfer_syntax_uid not in SUPPORTED_TRANSFER_SYNTAXES:
            raise _Refused(SYNTAX_NOT_SUPPORTED, "Its transfer syntax is not taken.")
        if self._study and header.uid("StudyInstanceUID") != self._study:
            raise DatasetMismatch("It is of another study than the one in the path.")

    def _note(
        self,
        header: Header | None,
        failure: int,
        comment: str,
        outcome: IntakeOutcome | None = None,
    ) -> None:
        known = header.dataset if header is not None else Dataset()
        uids = {
            name: _uid(known, keyword)
            for name, keyword in (
                ("sop_class_uid", "SOPClassUID"),
                ("sop_instance_uid", "SOPInstanceUID"),
                ("series_instance_uid", "SeriesInstanceUID"),
                ("study_instance_uid", "StudyInstanceUID"),
            )
        }
        if failure == UNEXPECTED:
            failure = PROCESSING_FAILURE
        self._outcomes.append(PartOutcome(**uids, failure=failure, comment=comment))
        if outcome is None:
            log.warning(
                "intake.refused",
                calling_ae_title=self._source,
                sop_instance_uid=uids["sop_instance_uid"],
                reason=comment,
            )
        else:
            log.info(
                "intake.stored",
                calling_ae_title=self._source,
                sop_instance_uid=uids["sop_instance_uid"],
                outcome=outcome.value,
            )


def _uid(dataset: Dataset, keyword: str) -> str:
    try:
        return Header(dataset, "", 0, False).uid(keyword)
    except CannotUnderstand:
        return ""


def _disk(exc: OSError) -> OutOfResources:
    return OutOfResources(
        f"The disk does not take the object ({exc.strerror or exc}); {disk_advice(exc)}."
    )
