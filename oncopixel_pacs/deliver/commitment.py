"""Storage Commitment Push Model as SCU (PS3.4 Annex J): ask, and read what is reported."""

from __future__ import annotations

from collections.abc import Iterable

from pydicom.dataset import Dataset
from pynetdicom.association import Association

from oncopixel_pacs.deliver.outcome import OutgoingObject
from oncopixel_pacs.domain.proofs import CommitmentReport

#: SOP class and its one well-known instance (PS3.4 J.3.5).
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"
SOP_INSTANCE = "1.2.840.10008.1.20.1.1"
REQUEST_COMMITMENT = 1

#: Status of an N-EVENT-REPORT response (PS3.7 10.1.1.1.8).
SUCCESS = 0x0000
PROCESSING_FAILURE = 0x0110
INVALID_ARGUMENT = 0x0115

#: Refusals of a request that may pass: processing failure, resource limitation (PS3.7 Annex C).
PASSING = frozenset({0x0110, 0x0213})


def ask(assoc: Association, objects: Iterable[OutgoingObject], transaction_uid: str) -> int | None:
    """Send N-ACTION for these objects.

    Returns
    -------
    int or None
        Its status; ``None`` when there was no answer.
    """
    information = Dataset()
    information.TransactionUID = transaction_uid
    information.ReferencedSOPSequence = [_reference(item) for item in objects]
    answer, _ = assoc.send_n_action(
        information, REQUEST_COMMITMENT, STORAGE_COMMITMENT, SOP_INSTANCE
    )
    return int(answer.Status) if "Status" in answer else None


def read_report(information: Dataset) -> CommitmentReport | None:
    """Read the Event Information of a report; ``None`` when it is not complete."""
    try:
        return CommitmentReport(
            str(information.TransactionUID),
            tuple(
                str(item.ReferencedSOPInstanceUID)
                for item in information.get("ReferencedSOPSequence") or ()
            ),
            {
                # Some leave the reason out.
                str(item.ReferencedSOPInstanceUID): int(
                    item.get("FailureReason") or PROCESSING_FAILURE
                )
                for item in information.get("FailedSOPSequence") or ()
            },
        )
    except (AttributeError, ValueError, TypeError):
        return None


def _reference(item: OutgoingObject) -> Dataset:
    reference = Dataset()
    reference.ReferencedSOPClassUID = item.sop_class_uid
    reference.ReferencedSOPInstanceUID = item.sop_instance_uid
    return reference
