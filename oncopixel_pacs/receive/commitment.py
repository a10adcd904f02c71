"""What storage commitment says (PS3.4 Annex J, Push Model): the request, the check, the report.

An instance is committed when its row is there, names the SOP class that was asked about, and
its file holds the very bytes that were received. Nothing less is ever confirmed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pydicom.dataset import Dataset

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.receive.header import PARSE_ERRORS, is_uid
from oncopixel_pacs.store.holdings import Holding

#: The one well-known instance of the SOP class (PS3.4 J.3.5).
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT = 1

#: Event Type ID (PS3.4 J.3.3).
ALL_COMMITTED = 1
FAILURES_EXIST = 2

#: Failure Reason (0008,1197), PS3.3 C.14.1.1.
PROCESSING_FAILURE = 0x0110
NO_SUCH_OBJECT_INSTANCE = 0x0112
CLASS_INSTANCE_CONFLICT = 0x0119

#: Status of the N-ACTION response (PS3.7 10.1.4.1.10).
SUCCESS = 0x0000
NO_SUCH_SOP_INSTANCE = 0x0112
INVALID_ARGUMENT_VALUE = 0x0115
NO_SUCH_ACTION = 0x0123
RESOURCE_LIMITATION = 0x0213


@dataclass(frozen=True, slots=True)
class Reference:
    """An instance that a peer asks about."""

    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True, slots=True)
class Request:
    """What a peer wants to be told: Action Information of an N-ACTION."""

    transaction_uid: str
    references: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is true of one instance; `failure` is its Failure Reason, ``None`` when committed."""

    reference: Reference
    failure: int | None


def read_request(information: Dataset) -> Request | None:
    """Read the Action Information (PS3.4 J.3.2.1.1); ``None`` when it is not complete."""
    try:
        transaction = str(information.TransactionUID)
        references = tuple(
            Reference(str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID))
            for item in information.ReferencedSOPSequence
        )
    except PARSE_ERRORS:
        return None
    uids = [transaction, *(item.sop_class_uid for item in references)]
    uids += [item.sop_instance_uid for item in references]
    return Request(transaction, references) if references and all(map(is_uid, uids)) else None


def judge(
    request: Request,
    find: Callable[[Sequence[str]], Mapping[str, Holding]],
    is_intact: Callable[[str, str], bool],
) -> tuple[Verdict, ...]:
    """Look at every instance of a request, each once.

    Parameters
    ----------
    find
        What is recorded under these SOP Instance UIDs, by UID.
    is_intact
        Whether the file at a path holds a data set with a digest; raises `OSError` when it
        cannot be read, `FileNotFoundError` when it is not there.
    """
    references = tuple(dict.fromkeys(request.references))
    try:
        holdings = find([item.sop_instance_uid for item in references])
    except OutOfResources:
        return tuple(Verdict(item, PROCESSING_FAILURE) for item in references)
    return tuple(
        Verdict(item, _failure(item, holdings.get(item.sop_instance_uid), is_intact))
        for item in references
    )


def _failure(
    reference: Reference, holding: Holding | None, is_intact: Callable[[str, str], bool]
) -> int | None:
    if holding is None:
        return NO_SUCH_OBJECT_INSTANCE
    if holding.sop_class_uid != reference.sop_class_uid:
        return CLASS_INSTANCE_CONFLICT
    try:
        intact = all(is_intact(path, digest) for path, digest in holding.files)
    except FileNotFoundError:
        return NO_SUCH_OBJECT_INSTANCE
    except OSError:
        return PROCESSING_FAILURE
    return None if intact else PROCESSING_FAILURE


def report(transaction_uid: str, verdicts: Sequence[Verdict]) -> tuple[int, Dataset]:
    """Event Type ID and Event Information of the N-EVENT-REPORT (PS3.4 J.3.3.1)."""
    information = Dataset()
    information.TransactionUID = transaction_uid
    committed = [_item(verdict) for verdict in verdicts if verdict.failure is None]
    failed = [_item(verdict) for verdict in verdicts if verdict.failure is not None]
    if committed:
        information.ReferencedSOPSequence = committed
    if failed:
        information.FailedSOPSequence = failed
    return FAILURES_EXIST if failed else ALL_COMMITTED, information


def _item(verdict: Verdict) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = verdict.reference.sop_class_uid
    item.ReferencedSOPInstanceUID = verdict.reference.sop_instance_uid
    if verdict.failure is not None:
        item.FailureReason = verdict.failure
    return item
