"""C-FIND and C-MOVE (PS3.4 Annex C), Study Root: it sends to our listener, we ask and count."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydicom.dataset import Dataset
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from oncopixel_pacs.deliver.association import VERIFICATION, Peer, opened
from oncopixel_pacs.errors import ConfigurationError, DeliveryFailed, PullFailed
from oncopixel_pacs.receive.pull.remote import Fetch, Remote
from oncopixel_pacs.settings.dimse import TlsSettings
from oncopixel_pacs.settings.sources import CMoveSource
from oncopixel_pacs.tls import requestor_context

#: Study Root Query/Retrieve Information Model - FIND and - MOVE (PS3.4 C.3).
FIND = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE = "1.2.840.10008.5.1.4.1.2.2.2"
_SUCCESS = 0x0000
_PENDING = frozenset({0xFF00, 0xFF01})
#: Some sub-operations failed (PS3.4 C.4.2.1.5): what came, came.
_INCOMPLETE = 0xB000
_UNKNOWN_DESTINATION, _NOT_SENT = 0xA801, 0xA702
#: After these the next series would fare no better; after others it may well come.
_NO_USE_GOING_ON = frozenset({None, 0xA701, _UNKNOWN_DESTINATION, 0xFE00})
_MEANINGS = {
    0xA701: "it has no resources to count the objects; try again later",
    0xA900: "it does not understand the request",
    0xFE00: "the request was cancelled",
}


def echo(
    source: CMoveSource, calling_ae_title: str, timeout_seconds: float, tls: TlsSettings
) -> str:
    """C-ECHO, and whether it takes C-FIND and C-MOVE; see `oncopixel_pacs.receive.pull.echo`."""
    peer = _peer(source, calling_ae_title, tls)
    contexts = [build_context(item) for item in (VERIFICATION, FIND, MOVE)]
    with _failures(), opened(peer, contexts, timeout_seconds) as assoc:
        taken = {str(item.abstract_syntax) for item in assoc.accepted_contexts}
        answer = assoc.send_c_echo() if VERIFICATION in taken else Dataset()
    lacking = [name for name, uid in (("C-FIND", FIND), ("C-MOVE", MOVE)) if uid not in taken]
    if lacking:
        raise _failed(source, peer, f"it does not take {' and '.join(lacking)}; allow it there")
    if "Status" in answer and answer.Status != _SUCCESS:
        raise _failed(source, peer, f"it answered C-ECHO with 0x{answer.Status:04X}")
    return f"C-ECHO answered by {peer.place}; it takes C-FIND and C-MOVE"


def find(source: CMoveSource, study_instance_uid: str, work: Fetch) -> tuple[Remote, ...]:
    """C-FIND at the level of series, then of images in each; see `oncopixel_pacs.receive.pull`."""
    peer = _peer(source, work.calling_ae_title, work.tls)
    found: dict[str, Remote] = {}
    with _failures(), opened(peer, [build_context(FIND)], work.timeout_seconds) as assoc:
        _require_taken(assoc, source, peer, "C-FIND")
        series = [
            str(item.SeriesInstanceUID)
            for item in _found(
                assoc, _series_query(study_instance_uid), source, peer, "SeriesInstanceUID"
            )
        ]
        for uid in dict.fromkeys(series):
            work.check_going()
            query = _image_query(study_instance_uid, uid)
            for item in _found(assoc, query, source, peer, "SOPInstanceUID"):
                name = str(item.SOPInstanceUID)
                found[name] = Remote(name, uid, str(item.get("SOPClassUID") or ""))
    return tuple(found.values())


def fetch(
    source: CMoveSource, study_instance_uid: str, wanted: tuple[Remote, ...], work: Fetch
) -> None:
    """C-MOVE of each series that lacks an object; see `oncopixel_pacs.receive.pull.fetch`."""
    peer = _peer(source, work.calling_ae_title, work.tls)
    destination = source.move_destination or work.calling_ae_title
    by_series: dict[str, int] = {}
    for item in wanted:
        by_series[item.series_instance_uid] = by_series.get(item.series_instance_uid, 0) + 1
    before, troubles = 0, []
    with _failures(), opened(peer, [build_context(MOVE)], work.timeout_seconds) as assoc:
        _require_taken(assoc, source, peer, "C-MOVE")
        for uid, number in by_series.items():
            query = _series_query(study_instance_uid)
            query.SeriesInstanceUID = uid
            status = None
            for answer, _ in assoc.send_c_move(query, destination, MOVE):
                status = answer.get("Status")
                done = int(answer.get("NumberOfCompletedSuboperations") or 0)
                work.arrived(before + min(done, number))
                if work.stopping.is_set():
                    assoc.abort()
                    work.check_going()
            before += number
            if status != _SUCCESS:
                troubles.append(_sentence_of_move(status, destination, source.ae_title))
                if status in _NO_USE_GOING_ON:
                    break
    if troubles:
        raise _failed(source, peer, "; ".join(dict.fromkeys(troubles)))


def _found(
    assoc: Association, query: Dataset, source: CMoveSource, peer: Peer, keyword: str
) -> Iterator[Dataset]:
    last: Any = None
    for answer, identifier in assoc.send_c_find(query, FIND):
        last = answer.get("Status")
        if last in _PENDING and identifier is not None and identifier.get(keyword):
            yield identifier
    if last != _SUCCESS:
        raise _failed(source, peer, f"C-FIND was not answered: {_sentence(last)}")


def _series_query(study_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "SERIES"
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = ""
    return query


def _image_query(study_instance_uid: str, series_instance_uid: str) -> Dataset:
    query = Dataset()
    query.QueryRetrieveLevel = "IMAGE"
    query.StudyInstanceUID = study_instance_uid
    query.SeriesInstanceUID = series_instance_uid
    query.SOPInstanceUID = ""
    query.SOPClassUID = ""
    return query


def _peer(source: CMoveSource, calling_ae_title: str, tls: TlsSettings) -> Peer:
    called = source.query_ae_title or source.ae_title
    try:
        context = requestor_context(tls) if source.tls else None
    except ConfigurationError as exc:
        raise PullFailed(str(exc), permanent=False) from exc
    return Peer(source.name, source.host, source.port, called, calling_ae_title, context)


def _require_taken(assoc: Association, source: CMoveSource, peer: Peer, service: str) -> None:
    if not assoc.is_established:
        raise _failed(source, peer, f"it does not take {service}; allow it there")


def _sentence_of_move(status: int | None, destination: str, sender: str) -> str:
    """Say what to check when a C-MOVE to this AE title went wrong.

    An unknown destination is 0xA801, one that takes nothing 0xA702 (PS3.4 C.4.2.1.5); Orthanc
    and others say of both only that they were unable to process (0xCxxx).
    """
    if status == _UNKNOWN_DESTINATION:
        return f"it does not know {destination} as move destination; add it there"
    if status == _NOT_SENT or (status is not None and 0xC000 <= status <= 0xCFFF):
        return (
            f"it could not send to us (0x{status:04X}); see its log, whether it has {destination} "
            f"with our address as move destination, and whether [[peers]] lets {sender} in"
        )
    return _sentence(status)


def _sentence(status: int | None) -> str:
    if status is None:
        return "it fell silent or ended the association; try again later"
    if status == _INCOMPLETE:
        return "it could not send every object; see its log, and whether [[peers]] lets it in"
    return _MEANINGS.get(status, f"it answered 0x{status:04X}; see its log")


@contextmanager
def _failures() -> Iterator[None]:
    """Turn the error of an association into one of a pull."""
    try:
        yield
    except DeliveryFailed as exc:
        raise PullFailed(str(exc), permanent=False) from exc


def _failed(source: CMoveSource, peer: Peer, reason: str) -> PullFailed:
    return PullFailed(f"{source.name} ({peer.place}): {reason}.", permanent=False)
