"""Orthanc's REST API, through its Python client."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from typing import Any, TypeVar

import requests
from orthanc_api_client import OrthancApiClient, exceptions

from oncopixel_pacs.errors import PullFailed
from oncopixel_pacs.receive.pull.remote import Fetch, Remote, take
from oncopixel_pacs.source_settings import OrthancSource

Answer = TypeVar("Answer")

_CHUNK_BYTES = 1 << 20


def echo(source: OrthancSource, calling_ae_title: str, timeout_seconds: float) -> str:
    """Read the system page; see `oncopixel_pacs.receive.pull.echo`."""
    del calling_ae_title
    with closing(_client(source)) as client:
        system = _asked(source, lambda: _json(client, "system", timeout_seconds))
    return f"Orthanc {system.get('Version', '?')} answered at {source.url}"


def find(source: OrthancSource, study_instance_uid: str, work: Fetch) -> tuple[Remote, ...]:
    """Look the study up and list its instances; see `oncopixel_pacs.receive.pull.find`."""
    seconds = work.timeout_seconds
    with closing(_client(source)) as client:
        study = _asked(source, lambda: client.studies.lookup(study_instance_uid))
        if study is None:
            return ()
        found: list[Remote] = []
        for series in _asked(source, lambda: _json(client, f"studies/{study}/series", seconds)):
            work.check_going()
            found += _asked(source, partial(_listed, client, series, seconds))
    return tuple(found)


def fetch(
    source: OrthancSource, study_instance_uid: str, wanted: tuple[Remote, ...], work: Fetch
) -> None:
    """Download files one by one; see `oncopixel_pacs.receive.pull.fetch`."""
    del study_instance_uid
    with closing(_client(source)) as client:

        def download(item: Remote) -> Iterator[bytes]:
            uid = item.sop_instance_uid
            name = _asked(source, lambda: client.instances.lookup(uid))
            if name is None:
                raise _failed(source, f"object {uid} is no longer there")
            return _content(client, source, name, work.timeout_seconds)

        take(wanted, work, source.name, download)


def _client(source: OrthancSource) -> OrthancApiClient:
    password = source.password.get_secret_value() if source.password else None
    return OrthancApiClient(source.url, user=source.user, pwd=password)


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
    answer = _asked(
        source, lambda: client.get(f"instances/{name}/file", timeout=seconds, stream=True)
    )
    with closing(answer):
        try:
            yield from answer.iter_content(_CHUNK_BYTES)
        except requests.RequestException as exc:
            raise _failed(source, "it broke off in the middle of an object") from exc


def _asked(source: OrthancSource, ask: Callable[[], Answer]) -> Answer:
    try:
        return ask()
    except exceptions.NotAuthorized as exc:
        raise _failed(source, "it refuses our login; check user and password") from exc
    except exceptions.HttpError as exc:
        raise _failed(source, f"it answered HTTP {exc.http_status_code}; check url") from exc
    except (exceptions.OrthancApiException, requests.RequestException) as exc:
        raise _failed(
            source, "it cannot be reached; check that it runs, and url and firewall"
        ) from exc
    except (ValueError, LookupError, TypeError, AttributeError) as exc:
        raise _failed(source, "what answers there is no Orthanc; check url") from exc


def _failed(source: OrthancSource, reason: str) -> PullFailed:
    return PullFailed(f"{source.name} ({source.url}): {reason}.", permanent=False)
