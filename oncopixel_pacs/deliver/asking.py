"""Asks whether a destination has what it accepted, one way for each kind of destination."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from oncopixel_pacs.deliver import commitment
from oncopixel_pacs.deliver.association import opened
from oncopixel_pacs.deliver.cstore import peer_of
from oncopixel_pacs.deliver.folder import place_of
from oncopixel_pacs.deliver.orthanc import is_held
from oncopixel_pacs.deliver.outcome import OutgoingObject
from oncopixel_pacs.deliver.stow import is_found
from oncopixel_pacs.domain.proofs import CommitmentReport, Proof, Verdict
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import (
    CStoreDestination,
    DestinationSettings,
    FolderDestination,
    OrthancDestination,
    StowDestination,
    TlsSettings,
)

#: Study Root Query/Retrieve Information Model – FIND (PS3.4 C.4.1).
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
_PENDING = frozenset({0xFF00, 0xFF01})
#: How long the association of a commitment request is kept for a report that comes on it.
REPORT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Asking:
    """How a destination is asked.

    Attributes
    ----------
    transaction_uid
        Of a storage commitment request, should one be sent; known to whoever takes reports.
    on_report
        Takes a report that comes on the association of the request; false when it is not one
        of ours.
    again
        Whether all of it was asked for before: an archive that promised a report and brought
        none is then searched, where it may be.
    """

    calling_ae_title: str
    timeout_seconds: float
    tls: TlsSettings
    transaction_uid: str
    on_report: Callable[[CommitmentReport], bool]
    again: bool = False
    report_seconds: float = REPORT_SECONDS


def prove(
    objects: Sequence[OutgoingObject], destination: DestinationSettings, asking: Asking
) -> Iterator[Proof]:
    """Ask for each object.

    Yields
    ------
    Proof
        One per object, in their order.

    Raises
    ------
    DeliveryFailed
        When the destination cannot be asked now.
    """
    if isinstance(destination, CStoreDestination):
        yield from _by_association(objects, destination, asking)
        return
    for item in objects:
        if isinstance(destination, FolderDestination):
            found, how = _reads_back(item, destination), "read back"
        elif isinstance(destination, OrthancDestination):
            found, how = is_held(item, destination, asking.timeout_seconds), "Orthanc"
        else:
            found, how = _by_qido(item, destination, asking), "QIDO-RS"
        yield _found(item, found, how, destination.name)


def _by_qido(item: OutgoingObject, destination: StowDestination, asking: Asking) -> bool:
    keys = _keys(item)
    path = f"studies/{keys.StudyInstanceUID}/series/{keys.SeriesInstanceUID}/instances"
    return is_found(path, item.sop_instance_uid, destination, asking.timeout_seconds, asking.tls)


def _reads_back(item: OutgoingObject, destination: FolderDestination) -> bool:
    study = str(_keys(item).StudyInstanceUID)
    try:
        held = place_of(destination, study, item.sop_instance_uid).read_bytes()
    except FileNotFoundError:
        return False
    except OSError as exc:
        raise DeliveryFailed(
            f"{destination.name} ({destination.path}) cannot be read ({exc.strerror}).",
            permanent=False,
        ) from exc
    return hashlib.sha256(held).digest() == hashlib.sha256(item.path.read_bytes()).digest()


def _by_association(
    objects: Sequence[OutgoingObject], destination: CStoreDestination, asking: Asking
) -> Iterator[Proof]:
    ways = {
        "auto": (commitment.STORAGE_COMMITMENT, FIND),
        "commitment": (commitment.STORAGE_COMMITMENT,),
        "query": (FIND,),
    }[destination.proof]
    peer = peer_of(destination, asking.calling_ae_title, asking.tls)
    reports = _Reports(asking.on_report, {item.sop_instance_uid for item in objects})
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.on_event)]
    contexts = [build_context(way) for way in ways]
    with opened(peer, contexts, asking.timeout_seconds, handlers=handlers) as assoc:
        taken = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
        if commitment.STORAGE_COMMITMENT in taken and not (asking.again and FIND in taken):
            proofs = _by_commitment(assoc, objects, asking, reports, destination.name)
            if proofs is not None:
                yield from proofs
                return
        for item in objects:
            if FIND in taken:
                found = _finds(assoc, item, destination.name)
                yield _found(item, found, "C-FIND", destination.name)
            else:
                yield _unprovable(item, destination)


def _by_commitment(
    assoc: Association,
    objects: Sequence[OutgoingObject],
    asking: Asking,
    reports: _Reports,
    name: str,
) -> list[Proof] | None:
    """Ask by N-ACTION; ``None`` when it is refused, and another way may be tried."""
    how = "storage commitment"
    status = commitment.ask(assoc, objects, asking.transaction_uid)
    if status is None:
        raise DeliveryFailed(f"{name} gave no answer to N-ACTION.", permanent=False)
    if status != commitment.SUCCESS:
        return None
    reports.complete.wait(asking.report_seconds)
    told = reports.told
    return [
        Proof(item.sop_instance_uid, Verdict.PENDING, how)
        # What was reported is recorded already, by whoever takes reports.
        for item in objects
        if item.sop_instance_uid not in told
    ]


class _Reports:
    """Reports that come on our own association."""

    def __init__(self, on_report: Callable[[CommitmentReport], bool], wanted: set[str]) -> None:
        self._on_report = on_report
        self._wanted = wanted
        self.told: set[str] = set()
        self.complete = threading.Event()

    def on_event(self, event: evt.Event) -> tuple[int, None]:
        report = commitment.read_report(event.event_information)
        if report is None or not self._on_report(report):
            return commitment.INVALID_ARGUMENT, None
        self.told |= {*report.committed, *report.failed}
        if self._wanted <= self.told:
            self.complete.set()
        return commitment.SUCCESS, None


def _finds(assoc: Association, item: OutgoingObject, name: str) -> bool:
    keys = _keys(item)
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = keys.StudyInstanceUID
    query.SeriesInstanceUID = keys.SeriesInstanceUID
    query.SOPInstanceUID = item.sop_instance_uid
    found, last = False, None
    for answer, identifier in assoc.send_c_find(query, FIND):
        last = answer.get("Status")
        if last in _PENDING and identifier is not None:
            found = found or identifier.get("SOPInstanceUID") == item.sop_instance_uid
    if last != commitment.SUCCESS:
        said = "nothing" if last is None else f"0x{int(last):04X}"
        raise DeliveryFailed(f"{name} answered C-FIND with {said}.", permanent=False)
    return found


def _keys(item: OutgoingObject) -> Dataset:
    tags = ["StudyInstanceUID", "SeriesInstanceUID"]
    try:
        return dcmread(item.path, stop_before_pixels=True, specific_tags=tags)
    except OSError as exc:
        raise DeliveryFailed(
            f"{item.path.name} cannot be read ({exc.strerror}); check the data directory.",
            permanent=False,
        ) from exc


def _found(item: OutgoingObject, found: bool, how: str, name: str) -> Proof:
    if found:
        return Proof(item.sop_instance_uid, Verdict.PRESENT, how)
    sentence = f"{name} accepted the object, and {how} does not find it there."
    return Proof(item.sop_instance_uid, Verdict.ABSENT, how, sentence)


def _unprovable(item: OutgoingObject, destination: CStoreDestination) -> Proof:
    name, asked = destination.name, destination.proof
    if asked == "auto":
        sentence = f"{name} takes neither storage commitment nor C-FIND from us."
        return Proof(item.sop_instance_uid, Verdict.UNPROVABLE, "", sentence)
    wanted = "storage commitment" if asked == "commitment" else "C-FIND"
    sentence = f"{name} does not take {wanted}; allow it there, or set proof to auto."
    return Proof(item.sop_instance_uid, Verdict.UNKNOWN, wanted, sentence)
