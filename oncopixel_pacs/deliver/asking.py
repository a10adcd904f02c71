"""Asks whether a destination has what it accepted, one way for each kind of destination."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

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
from oncopixel_pacs.deliver.places import Place, read_places
from oncopixel_pacs.deliver.stow import is_found
from oncopixel_pacs.domain.proofs import COMMITMENT, CommitmentReport, Proof, Verdict
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
    asked_before
        SOP Instance UIDs of what was asked for before: an archive that promised a report and
        brought none, or does not commit such objects, is then searched, where it may be.
    refused
        SOP Instance UIDs of what it said it did not commit: while it takes requests, no search
        makes up for that.
    overdue
        SOP Instance UIDs of what should have been found by now.
    """

    calling_ae_title: str
    timeout_seconds: float
    tls: TlsSettings
    transaction_uid: str
    on_report: Callable[[CommitmentReport], bool]
    asked_before: Collection[str] = ()
    refused: Collection[str] = ()
    overdue: Collection[str] = ()
    report_seconds: float = REPORT_SECONDS


def prove(
    objects: Sequence[OutgoingObject], destination: DestinationSettings, asking: Asking
) -> Iterator[Proof]:
    """Ask for each object.

    Yields
    ------
    Proof
        One per object.

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
            yield _found(item, _reads_back(item, destination), "read back", destination.name)
        elif isinstance(destination, OrthancDestination):
            find = partial(
                is_held,
                destination=destination,
                timeout_seconds=asking.timeout_seconds,
                tls=asking.tls,
            )
            yield _searched(item, find, "Orthanc", destination, asking)
        else:
            find = partial(_by_qido, destination, asking)
            yield _searched(item, find, "QIDO-RS", destination, asking)


def _by_qido(destination: StowDestination, asking: Asking, place: Place) -> bool:
    path = f"studies/{place.study}/series/{place.series}/instances"
    return is_found(path, place.sop_instance, destination, asking.timeout_seconds, asking.tls)


def _searched(
    item: OutgoingObject,
    find: Callable[[Place], bool],
    how: str,
    destination: DestinationSettings,
    asking: Asking,
) -> Proof:
    """Search for one object; where that is not answered it holds up no other.

    A rejection note that is not shown in time did its work where nothing that it takes back is
    shown either: archives that know IOCM hide both (IHE RAD TF-3 4.66.4.1.3).
    """
    place, taken_back = read_places(item.path)
    try:
        found = find(place)
        if not found and taken_back and item.sop_instance_uid in asking.overdue:
            found = not any(map(find, taken_back))
    except DeliveryFailed as exc:
        if not exc.status:
            raise
        return Proof(item.sop_instance_uid, Verdict.UNKNOWN, how, str(exc))
    return _found(item, found, how, destination.name)


def _reads_back(item: OutgoingObject, destination: FolderDestination) -> bool:
    study = read_places(item.path)[0].study
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
    reports = _Reports(asking.on_report)
    handlers = [(evt.EVT_N_EVENT_REPORT, reports.on_event)]
    contexts = [build_context(way) for way in ways]
    with opened(peer, contexts, asking.timeout_seconds, handlers=handlers) as assoc:
        taken = {str(context.abstract_syntax) for context in assoc.accepted_contexts}
        find = partial(_finds, assoc, destination.name, asking.timeout_seconds)

        def searched(items: Sequence[OutgoingObject], refusal: str = "") -> Iterator[Proof]:
            for item in items:
                if FIND in taken and not (refusal and item.sop_instance_uid in asking.refused):
                    yield _searched(item, find, "C-FIND", destination, asking)
                elif refusal:
                    yield Proof(item.sop_instance_uid, Verdict.UNKNOWN, COMMITMENT, refusal)
                else:
                    yield _unprovable(item, destination)

        if commitment.STORAGE_COMMITMENT not in taken:
            yield from searched(objects)
            return
        known = set(asking.asked_before) - set(asking.refused) if FIND in taken else set()
        yield from searched([item for item in objects if item.sop_instance_uid in known])
        if new := [item for item in objects if item.sop_instance_uid not in known]:
            status = commitment.ask(assoc, new, asking.transaction_uid)
            if status == commitment.SUCCESS:
                reports.wait_for({item.sop_instance_uid for item in new}, asking.report_seconds)
                yield from _pending(new, reports)
            else:
                yield from searched(new, _refusal(status, destination))


def _refusal(status: int | None, destination: CStoreDestination) -> str:
    """Say what was answered to a request; empty where it is not to be asked again."""
    if status is None:
        raise DeliveryFailed(f"{destination.name} gave no answer to N-ACTION.", permanent=False)
    if destination.proof == "commitment" or status in commitment.PASSING:
        return f"{destination.name} answered N-ACTION with 0x{status:04X}."
    return ""


def _pending(objects: Sequence[OutgoingObject], reports: _Reports) -> Iterator[Proof]:
    """Tell of what no report told; the rest is recorded already, by whoever takes reports."""
    told = reports.told
    for item in objects:
        if item.sop_instance_uid not in told:
            yield Proof(item.sop_instance_uid, Verdict.PENDING, COMMITMENT)


class _Reports:
    """Reports that come on our own association."""

    def __init__(self, on_report: Callable[[CommitmentReport], bool]) -> None:
        self._on_report = on_report
        self._news = threading.Condition()
        self.told: set[str] = set()

    def wait_for(self, wanted: set[str], seconds: float) -> None:
        """Wait until all of these are told of, or for so long."""
        with self._news:
            self._news.wait_for(lambda: wanted <= self.told, seconds)

    def on_event(self, event: evt.Event) -> tuple[int, None]:
        report = commitment.read_report(event.event_information)
        if report is None or not self._on_report(report):
            return commitment.INVALID_ARGUMENT, None
        with self._news:
            self.told |= {*report.committed, *report.failed}
            self._news.notify_all()
        return commitment.SUCCESS, None


def _finds(assoc: Association, name: str, timeout_seconds: float, place: Place) -> bool:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = place.study
    query.SeriesInstanceUID = place.series
    query.SOPInstanceUID = place.sop_instance
    found, last = False, None
    until = time.monotonic() + timeout_seconds
    for answer, identifier in assoc.send_c_find(query, FIND):
        last = answer.get("Status")
        if last in _PENDING and identifier is not None:
            found = found or identifier.get("SOPInstanceUID") == place.sop_instance
        if last in _PENDING and time.monotonic() > until:
            # It may not know our keys, and tell all that it has.
            assoc.abort()
            raise DeliveryFailed(f"{name} does not come to an end with C-FIND.", permanent=False)
    if last != commitment.SUCCESS:
        said = "" if last is None else f"0x{int(last):04X}"
        raise DeliveryFailed(
            f"{name} answered C-FIND with {said or 'nothing'}.", permanent=False, status=said
        )
    return found


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
    wanted = COMMITMENT if asked == "commitment" else "C-FIND"
    sentence = f"{name} does not take {wanted}; allow it there, or set proof to auto."
    return Proof(item.sop_instance_uid, Verdict.UNKNOWN, wanted, sentence)
