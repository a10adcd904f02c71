"""STOW-RS (PS3.18 10.5) to a DICOMweb archive, and QIDO-RS (10.6) to see what it holds."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx

from oncopixel_pacs.deliver.dicomweb_client import open_client
from oncopixel_pacs.deliver.dimse_status import DUPLICATE, meaning_of
from oncopixel_pacs.deliver.outcome import Outcome, OutgoingObject
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import StowDestination, TlsSettings

#: HTTP statuses after which the same bytes may well be taken later.
PASSING = frozenset({401, 403, 404, 408, 423, 425, 429, 500, 502, 503, 504, 507})
_JSON = {"Accept": "application/dicom+json"}
_FAILED_SOPS, _FAILURE_REASON = "00081198", "00081197"
_STORED_SOPS, _WARNING_REASON = "00081199", "00081196"
_SOP_INSTANCE = "00081155"
_CHUNK_BYTES = 1 << 20


def send(
    objects: Sequence[OutgoingObject],
    destination: StowDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> Iterator[Outcome]:
    """Store objects by one request each; see `oncopixel_pacs.deliver.send`."""
    del calling_ae_title
    with open_client(destination, timeout_seconds, tls) as client:
        for number, item in enumerate(objects):
            try:
                yield _store(client, item, destination)
            except httpx.HTTPError as exc:
                if number == 0 and isinstance(exc, httpx.ConnectError):
                    raise _unreachable(destination, exc) from exc
                error = f"{destination.name} gave no answer for the object; it is sent again."
                yield Outcome(item.sop_instance_uid, False, "", error, False)


def echo(
    destination: StowDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> str:
    """Ask for one study; see `oncopixel_pacs.deliver.echo`."""
    del calling_ae_title
    with open_client(destination, timeout_seconds, tls) as client:
        try:
            answer = client.get("studies", params={"limit": 1}, headers=_JSON)
        except httpx.HTTPError as exc:
            raise _unreachable(destination, exc) from exc
    _require_good(answer, destination)
    return f"QIDO-RS answered HTTP {answer.status_code} at {destination.url}"


def is_found(
    path: str,
    sop_instance_uid: str,
    destination: StowDestination,
    timeout_seconds: float,
    tls: TlsSettings,
) -> bool:
    """Search for an instance by QIDO-RS.

    Parameters
    ----------
    path
        Resource of the instances of its series.

    Raises
    ------
    DeliveryFailed
        When the archive does not answer the question.
    """
    with open_client(destination, timeout_seconds, tls) as client:
        try:
            answer = client.get(path, params={"SOPInstanceUID": sop_instance_uid}, headers=_JSON)
        except httpx.HTTPError as exc:
            raise _unreachable(destination, exc) from exc
    # An archive may say of a study that it does not know that there is no such resource.
    if answer.status_code in (httpx.codes.NO_CONTENT, httpx.codes.NOT_FOUND):
        return False
    _require_good(answer, destination)
    found = _json(answer)
    if not isinstance(found, list):
        raise _failed(destination, "what answers there speaks no DICOM JSON; check url")
    return sop_instance_uid in {uid for item in found for uid in _values(item, "00080018")}


def _store(client: httpx.Client, item: OutgoingObject, destination: StowDestination) -> Outcome:
    boundary = secrets.token_hex(16)
    head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    tail = f"\r\n--{boundary}--\r\n".encode()
    try:
        size = len(head) + item.path.stat().st_size + len(tail)
        answer = client.post(
            "studies",
            content=_body(head, item.path, tail),
            headers={
                **_JSON,
                "Content-Type": f'multipart/related; type="application/dicom"; boundary={boundary}',
                "Content-Length": str(size),
            },
        )
    except OSError as exc:
        error = f"The object cannot be read ({exc.strerror})."
        return Outcome(item.sop_instance_uid, False, "", error, False)
    return _judge(answer, item.sop_instance_uid, destination.name)


def _body(head: bytes, path: Path, tail: bytes) -> Iterator[bytes]:
    yield head
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield chunk
    yield tail


def _judge(answer: httpx.Response, uid: str, name: str) -> Outcome:
    """Say what a response means for one instance (PS3.18 10.5.3, Annex I.2)."""
    code, said = answer.status_code, _json(answer)
    status = f"HTTP {code}"
    told = said if isinstance(said, dict) else {}
    reason = _reason(told, _FAILED_SOPS, _FAILURE_REASON, uid)
    if reason is not None:
        meaning, status = meaning_of(reason), f"{status} 0x{reason:04X}"
        error = f"{name} did not store the object (reason 0x{reason:04X}). {meaning.sentence}"
        held = reason == DUPLICATE
        return Outcome(uid, held, status, error.strip(), meaning.permanent)
    if code in (httpx.codes.OK, httpx.codes.ACCEPTED):
        warning = _reason(told, _STORED_SOPS, _WARNING_REASON, uid)
        if warning:
            error = f"{name} stored the object with a warning (0x{warning:04X})."
            return Outcome(uid, True, f"{status} 0x{warning:04X}", error, False)
        return Outcome(uid, True, status, "", False)
    error = f"{name} refused the object with HTTP {code}."
    return Outcome(uid, False, status, error, code not in PASSING)


def _reason(told: dict[str, Any], sequence: str, tag: str, uid: str) -> int | None:
    for item in _values(told, sequence):
        if isinstance(item, dict) and uid in _values(item, _SOP_INSTANCE):
            values = _values(item, tag)
            return int(values[0]) if values and isinstance(values[0], int) else 0
    return None


def _values(item: Any, tag: str) -> list[Any]:
    element = item.get(tag) if isinstance(item, dict) else None
    values = element.get("Value") if isinstance(element, dict) else None
    return values if isinstance(values, list) else []


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _require_good(answer: httpx.Response, destination: StowDestination) -> None:
    code = answer.status_code
    if code in (401, 403):
        raise _failed(destination, "it refuses our login; check user, password or token")
    if code not in (httpx.codes.OK, httpx.codes.NO_CONTENT):
        raise _failed(
            destination,
            f"it answered HTTP {code}; check that url is its DICOMweb root",
            f"HTTP {code}",
        )


def _unreachable(destination: StowDestination, exc: httpx.HTTPError) -> DeliveryFailed:
    return _failed(
        destination, f"nothing answers there ({type(exc).__name__}); check that it runs, and url"
    )


def _failed(destination: StowDestination, reason: str, status: str = "") -> DeliveryFailed:
    sentence = f"{destination.name} ({destination.url}): {reason}."
    return DeliveryFailed(sentence, permanent=False, status=status)
