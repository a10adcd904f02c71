"""Storage SCP (PS3.4 B): what is done with each C-STORE request. 0x0000 means safe."""

from __future__ import annotations

import traceback
from typing import Any

import structlog

from oncopixel_pacs.errors import CannotUnderstand, DatasetMismatch, IntakeRefused
from oncopixel_pacs.receive.contexts import is_storage
from oncopixel_pacs.receive.guards.store_provider import StoreService
from oncopixel_pacs.receive.header import is_uid
from oncopixel_pacs.receive.intake import Intake
from oncopixel_pacs.receive.limits import Limits
from oncopixel_pacs.receive.shared_processor import SharedProcessor
from oncopixel_pacs.receive.spool import Spool
from oncopixel_pacs.receive.status import SUCCESS, Answer, refusal
from oncopixel_pacs.receive.store_messages import StoreRequest, part10_head
from oncopixel_pacs.store.direct_file import ChunkPool
from oncopixel_pacs.store.free_space import FreeSpace


class StoreScp:
    """Serves C-STORE requests, from any number of threads.

    Parameters
    ----------
    space
        Where temporary files are written, on the volume where they will be kept, and how much
        room there must be before one is begun.
    """

    def __init__(self, intake: Intake, space: FreeSpace, limits: Limits) -> None:
        self._intake = intake
        self._space = space
        self._limits = limits
        self._pool = ChunkPool()
        self._processor = SharedProcessor() if intake.keeps_on_disk else None
        # Bound once: to find the name of its caller takes a logger longer than to log.
        self._log: Any = structlog.get_logger(__name__).bind()

    @property
    def service(self) -> StoreService:
        """What a request is served with."""
        return StoreService(self._begin, self._finish, self._answered)

    def _begin(self, request: StoreRequest) -> Spool:
        if self._processor is not None:
            self._processor.join()
        refused = _objection(request)
        head = b""
        if refused is None:
            head = part10_head(
                request.sop_class_uid, request.sop_instance_uid, request.transfer_syntax
            )
        return Spool(self._space, self._pool, self._limits.dataset_bytes, head, refused)

    def _finish(self, request: StoreRequest, spool: Spool | None) -> Answer:
        """Answer one C-STORE. The only broad except of the package: no object ends a server."""
        calling = request.calling_ae_title
        try:
            if spool is None:
                raise CannotUnderstand("The object came without a data set; send it again.")
            outcome = self._intake.accept(
                spool.complete(),
                request.sop_class_uid,
                request.sop_instance_uid,
                request.transfer_syntax,
                calling,
                request.called_ae_title,
                request.association_at,
            )
            spool.is_kept = True
        except IntakeRefused as exc:
            self._intake.refused(exc)
            self._log.warning(
                "intake.refused",
                calling_ae_title=calling,
                sop_instance_uid=_named(request),
                reason=exc.for_log,
            )
            return refusal(exc)
        except Exception as exc:
            self._intake.refused(exc)
            # Neither the message nor the traceback's values: both may quote the data set.
            place = traceback.extract_tb(exc.__traceback__)[-1]
            self._log.error(
                "intake.failed",
                calling_ae_title=calling,
                error=type(exc).__name__,
                place=f"{place.filename}:{place.lineno}",
            )
            return refusal(exc)
        return Answer(SUCCESS, outcome=outcome.value)

    def _answered(self, request: StoreRequest, answer: Answer) -> None:
        if answer.status == SUCCESS:
            self._log.info(
                "intake.stored",
                calling_ae_title=request.calling_ae_title,
                sop_instance_uid=request.sop_instance_uid,
                outcome=answer.outcome,
            )


def _named(request: StoreRequest) -> str:
    """SOP Instance UID of a command; empty when it is none, for it may then say anything."""
    return request.sop_instance_uid if is_uid(request.sop_instance_uid) else ""


def _objection(request: StoreRequest) -> IntakeRefused | None:
    """Why a request is refused whatever its data set holds."""
    if request.abstract_syntax != request.sop_class_uid:
        return DatasetMismatch("The command names another SOP class than its context.")
    if not is_storage(request.sop_class_uid):
        return DatasetMismatch("The SOP class of the command is not one that is stored.")
    if not is_uid(request.sop_instance_uid):
        return CannotUnderstand("Affected SOP Instance UID is not a UID (PS3.5 9.1).")
    return None
