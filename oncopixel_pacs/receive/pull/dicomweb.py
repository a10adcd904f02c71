"""QIDO-RS and WADO-RS (PS3.18 10.6, 10.4): objects are streamed to disk as they are stored."""

from __future__ import annotations

from collections.abc import Iterator
from email.message import Message
from typing import TYPE_CHECKING, Any

import httpx
from python_multipart.exceptions import MultipartParseError
from python_multipart.multipart import MultipartParser

from oncopixel_pacs.deliver.dicomweb_client import open_client
from oncopixel_pacs.errors import DeliveryFailed, ObjectNotGiven, PullFailed
from oncopixel_pacs.receive.pull.remote import UNCODED, Fetch, Remote, take
from oncopixel_pacs.settings.dimse import TlsSettings
from oncopixel_pacs.settings.sources import DicomWebSource

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

_JSON = {"Accept": "application/dicom+json"}
#: In the transfer syntax that it is stored in: nothing is decoded or encoded for us.
_OBJECTS = {"Accept": 'multipart/related; type="application/dicom"; transfer-syntax=*', **UNCODED}
_CLASS, _INSTANCE, _SERIES = "00080016", "00080018", "0020000E"
_PAGE = 500
_CHUNK_BYTES = 1 << 20
#: HTTP statuses that speak of the object that was asked for; others speak of the service.
_NO_OBJECT = frozenset({400, 404, 406, 409, 410, 415, 422, 500, 501})


def echo(
    source: DicomWebSource, calling_ae_title: str, timeout_seconds: float, tls: TlsSettings
) -> str:
    """Ask for one study; see `oncopixel_pacs.receive.pull.echo`."""
    del calling_ae_title
    with _client(source, timeout_seconds, tls) as client:
        _ask(client, source, "studies", {"limit": 1})
    return f"QIDO-RS answered at {source.url}"


def find(source: DicomWebSource, study_instance_uid: str, work: Fetch) -> tuple[Remote, ...]:
    """Search for instances, page by page; see `oncopixel_pacs.receive.pull.find`."""
    found: dict[str, Remote] = {}
    with _client(source, work.timeout_seconds, work.tls) as client:
        while True:
            work.check_going()
            parameters = {"limit": _PAGE, "offset": len(found), "includefield": _CLASS}
            path = f"studies/{study_instance_uid}/instances"
            page = [_remote(item) for item in _ask(client, source, path, parameters)]
            new = {item.sop_instance_uid: item for item in page if item.sop_instance_uid}
            # An archive that knows no offset sends the same again.
            if not new.keys() - found.keys():
                return tuple(found.values())
            found |= new
            if len(page) < _PAGE:
                return tuple(found.values())


def fetch(
    source: DicomWebSource, study_instance_uid: str, wanted: tuple[Remote, ...], work: Fetch
) -> None:
    """Retrieve instances one by one; see `oncopixel_pacs.receive.pull.fetch`."""
    with _client(source, work.timeout_seconds, work.tls) as client:

        def download(item: Remote) -> Iterator[bytes]:
            path = (
                f"studies/{study_instance_uid}/series/{item.series_instance_uid}"
                f"/instances/{item.sop_instance_uid}"
            )
            return _object(client, source, path)

        take(wanted, work, source.name, download)


def _client(source: DicomWebSource, timeout_seconds: float, tls: TlsSettings) -> httpx.Client:
    try:
        return open_client(source, timeout_seconds, tls)
    except DeliveryFailed as exc:
        raise PullFailed(str(exc), permanent=False) from exc


def _ask(
    client: httpx.Client, source: DicomWebSource, path: str, parameters: dict[str, Any]
) -> list[dict[str, Any]]:
    try:
        answer = client.get(path, params=parameters, headers=_JSON)
        if answer.status_code == httpx.codes.NO_CONTENT:
            return []
        _require_good(answer, source)
        found = answer.json()
    except httpx.HTTPError as exc:
        raise _unreachable(source, exc) from exc
    except ValueError as exc:
        raise _failed(source, "what answers there speaks no DICOM JSON; check url") from exc
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise _failed(source, "what answers there speaks no DICOM JSON; check url")
    return found


def _object(client: httpx.Client, source: DicomWebSource, path: str) -> Iterator[bytes]:
    try:
        with client.stream("GET", path, headers=_OBJECTS) as answer:
            if answer.status_code not in _NO_OBJECT:
                _require_good(answer, source)
                yield from _first_part(answer)
                return
            raise ObjectNotGiven(f"it answered HTTP {answer.status_code}; see its log")
    except (httpx.RemoteProtocolError, httpx.ReadError) as exc:
        raise ObjectNotGiven("it broke off in the middle; see its log") from exc
    except httpx.HTTPError as exc:
        raise _unreachable(source, exc) from exc


def _first_part(answer: httpx.Response) -> Iterator[bytes]:
    """Yield the content of the first part; an archive that sends no multipart sends the object."""
    kind = Message()
    kind["Content-Type"] = answer.headers.get("Content-Type", "")
    boundary = kind.get_param("boundary")
    if not kind.get_content_type().startswith("multipart/") or not isinstance(boundary, str):
        yield from answer.iter_bytes(_CHUNK_BYTES)
        return
    part = _Part()
    try:
        parser = MultipartParser(boundary, part.callbacks)
        for chunk in answer.iter_bytes(_CHUNK_BYTES):
            parser.write(chunk)
            yield from part.take()
    except MultipartParseError as exc:
        raise ObjectNotGiven("its answer is no multipart message") from exc
    if not part.ended:
        raise ObjectNotGiven("its answer is no multipart message, or was cut short")


class _Part:
    """Gathers the first part of a multipart message while it is parsed."""

    def __init__(self) -> None:
        self.ended = False
        self._pieces: list[bytes] = []

    @property
    def callbacks(self) -> MultipartCallbacks:
        """What the parser calls."""
        return {"on_part_data": self._keep, "on_part_end": self._end}

    def take(self) -> list[bytes]:
        """Return what came since the last call."""
        pieces, self._pieces = self._pieces, []
        return pieces

    def _keep(self, data: bytes, start: int, end: int) -> None:
        if not self.ended:
            self._pieces.append(data[start:end])

    def _end(self) -> None:
        self.ended = True


def _remote(item: dict[str, Any]) -> Remote:
    return Remote(_value(item, _INSTANCE), _value(item, _SERIES), _value(item, _CLASS))


def _value(item: dict[str, Any], tag: str) -> str:
    element = item.get(tag)
    values = element.get("Value") if isinstance(element, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""


def _require_good(answer: httpx.Response, source: DicomWebSource) -> None:
    status = answer.status_code
    if status in (401, 403):
        raise _failed(source, "it refuses our login; check user, password or token")
    if status != httpx.codes.OK:
        raise _failed(source, f"it answered HTTP {status}; check url, and its log")


def _unreachable(source: DicomWebSource, error: httpx.HTTPError) -> PullFailed:
    if isinstance(error, httpx.TimeoutException):
        return _failed(source, "it does not answer in time; try again later")
    return _failed(source, "it cannot be reached; check that it runs, and url and firewall")


def _failed(source: DicomWebSource, reason: str) -> PullFailed:
    return PullFailed(f"{source.name} ({source.url}): {reason}.", permanent=False)
