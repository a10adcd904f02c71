"""Orthanc's REST API, through its Python client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import requests
from orthanc_api_client import OrthancApiClient, exceptions

from oncopixel_pacs.deliver.orthanc import CLIENT_ATTEMPTS, looked_up, open_client
from oncopixel_pacs.errors import DeliveryFailed, ObjectNotGiven, PullFailed
from oncopixel_pacs.receive.pull.remote import UNCODED, Fetch, Remote, take
from oncopixel_pacs.settings.dimse import TlsSettings
from oncopixel_pacs.settings.sources import OrthancSource

Answer = TypeVar("Answer")

_CHUNK_BYTES = 1 << 20
#: HTTP statuses that speak of the object that was asked for; others speak of the service.
_NO_OBJECT = frozenset({404, 500})


def echo(
    source: OrthancSource, calling_ae_title: str, timeout_seconds: float, tls: TlsSettings
) -> str:
    """Read the system page; see `oncopixel_pacs.receive.pull.echo`."""
    del calling_ae_title
    seconds = timeout_seconds / CLIENT_ATTEMPTS
    with closing(_client(source, tls)) as client:
        system = _asked(source, lambda: _json(client, "system", seconds))
    return f"Orthanc {system.get('Version', '?')} answered at {source.url}"


def find(source: OrthancSource, study_instance_uid: str, work: Fetch) -> tuple[Remote, ...]:
    """Look the study up and list its instances; see `oncopixel_pacs.receive.pull.find`."""
    seconds = work.timeout_seconds / CLIENT_ATTEMPTS
    found: dict[str, Remote] = {}
    with closing(_client(source, work.tls)) as client:
        ask = partial(looked_up, client, study_instance_uid, "Study", seconds)
        for study in _asked(source, ask):
            several = _asked(source, partial(_json, client, f"studies/{study}/series", seconds))
            for series in several:
                work.check_going()
                listed = _asked(source, partial(_listed, client, series, seconds))
                found |= {item.sop_instance_uid: item for item in listed}
    return tuple(found.values())


def fetch(
    source: OrthancSource, study_instance_uid: str, wanted: tuple[Remote, ...], work: Fetch
) -> None:
    """Download files one by one; see `oncopixel_pacs.receive.pull.fetch`."""
    del study_instance_uid
    seconds = work.timeout_seconds / CLIENT_ATTEMPTS
    with closing(_client(source, work.tls)) as client:

        def download(item: Remote) -> Iterator[bytes]:
            uid = item.sop_instance_uid
            names = _asked(source, lambda: looked_up(client, uid, "Instance", seconds))
            if not names:
                raise ObjectNotGiven("it is no longer there")
            return _content(client, source, names[0], work.timeout_seconds)

        take(wanted, work, source.name, download)


def _client(source: OrthancSource, tls: TlsSettings) -> OrthancApiClient:
    try:
        return open_client(source, tls)
    except DeliveryFailed as exc:
        raise PullFailed(str(exc), permanent=False) from exc


def _json(client: OrthancApiClient, path: str, seconds: float) -> Any:
    return client.get(path, timeout=seconds).json()


def _listed(client: OrthancApiClient, series: Any, seconds: float) -> list[Remote]:
    uid = str(series["MainDicomTags"]["SeriesInstanceUID"])
    return [
        Remote(
            str(item["MainDicomTags"]["SOPInstanceUID"]),
            uid,
            client.get(f"instances/{item['ID']}/metadata/SopClassUid", timeout=seconds).text,
        )
        for item in _json(client, f"series/{series['ID']}/instances", seconds)
    ]


def _content(
    client: OrthancApiClient, source: OrthancSource, name: str, seconds: float
) -> Iterator[bytes]:
    def ask() -> requests.Response:
        try:
            found: requests.Response = client.get(
                f"instances/{name}/file", timeout=seconds, stream=True, headers=UNCODED
            )
            return found
        except exceptions.HttpError as exc:
            if exc.http_status_code not in _NO_OBJECT:
                raise
            raise ObjectNotGiven(f"it answered HTTP {exc.http_status_code}; see its log") from exc

    with closing(_asked(source, ask)) as answer:
        try:
            yield from answer.iter_content(_CHUNK_BYTES)
        except requests.RequestException as exc:
            raise ObjectNotGiven("it broke off in the middle; see its log") from exc


def _asked(source: OrthancSource, ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except exceptions.NotAuthorized as exc:
        raise _failed(source, "it refuses our login; check user and password") from exc
    except exceptions.HttpError as exc:
        reason = f"it answered HTTP {exc.http_status_code}; check url, and its log"
        raise _failed(source, reason) from exc
    except (exceptions.OrthancApiException, requests.RequestException) as exc:
        raise _failed(
            source, "it cannot be reached; check that it runs, and url and firewall"
        ) from exc
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise _failed(source, "what answers there is no Orthanc; check url") from exc


def _failed(source: OrthancSource, reason: str) -> PullFailed:
    return PullFailed(f"{source.name} ({source.url}): {reason}.", permanent=False)
