"""Orthanc's REST API, through its Python client."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from ssl import SSLContext
from typing import Any

import requests
from orthanc_api_client import OrthancApiClient, exceptions
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from oncopixel_pacs.deliver.http_service import HttpService, service_context
from oncopixel_pacs.deliver.outcome import Outcome, OutgoingObject
from oncopixel_pacs.deliver.places import Place
from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import OrthancDestination, TlsSettings

#: The client tries this often before it gives up.
CLIENT_ATTEMPTS = 4

#: Values of Status in the answer to an upload that mean that Orthanc has the object.
ACCEPTED = frozenset({"Success", "AlreadyStored"})

#: HTTP statuses after which the same bytes may well be taken later.
PASSING = frozenset({401, 403, 404, 408, 409, 423, 425, 429, 500, 502, 503, 504, 507})
#: What its client raises when there is no answer, or one that is not Orthanc's.
_NO_USABLE_ANSWER = (
    exceptions.OrthancApiException,
    requests.RequestException,
    ValueError,
    LookupError,
    TypeError,
)


class _TrustingAdapter(HTTPAdapter):
    """Connections of the client, made in a context of ours."""

    def __init__(self, context: SSLContext, retries: Retry) -> None:
        self._context = context
        super().__init__(max_retries=retries)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._context, **options)


def send(
    objects: Sequence[OutgoingObject],
    destination: OrthancDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> Iterator[Outcome]:
    """Upload objects one by one; see `oncopixel_pacs.deliver.send`."""
    del calling_ae_title
    seconds = timeout_seconds / CLIENT_ATTEMPTS
    with closing(open_client(destination, tls)) as client:
        _system(client, destination, seconds)
        for item in objects:
            yield _upload(client, item, destination, seconds)


def echo(
    destination: OrthancDestination,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings,
) -> str:
    """Read the system page; see `oncopixel_pacs.deliver.echo`."""
    del calling_ae_title
    with closing(open_client(destination, tls)) as client:
        system = _system(client, destination, timeout_seconds / CLIENT_ATTEMPTS)
    return f"Orthanc {system.get('Version', '?')} answered at {destination.url}"


def is_held(
    place: Place, destination: OrthancDestination, timeout_seconds: float, tls: TlsSettings
) -> bool:
    """Look an object up by its SOP Instance UID, in its study.

    A script of Orthanc's may have filed it in another one, where nobody finds it.

    Raises
    ------
    DeliveryFailed
        When Orthanc does not answer the question.
    """
    with closing(open_client(destination, tls)) as client:
        seconds = timeout_seconds / CLIENT_ATTEMPTS
        _system(client, destination, seconds)
        try:
            held = looked_up(client, place.sop_instance, "Instance", seconds)
            return any(_study_of(client, item, seconds) == place.study for item in held)
        except _NO_USABLE_ANSWER as exc:
            raise _unusable(destination, "it did not answer a look-up; see its log") from exc


def _study_of(client: OrthancApiClient, instance: str, seconds: float) -> str:
    answer = client.get(f"instances/{instance}/study", timeout=seconds)
    return str(answer.json()["MainDicomTags"]["StudyInstanceUID"])


def looked_up(client: OrthancApiClient, uid: str, kind: str, seconds: float) -> list[str]:
    """Return Orthanc's ids of all resources of a kind (such as ``Study``) that have a UID.

    There are several where it came under several Patient IDs. The client's own look-up waits for
    an answer without end, and takes several for an error.
    """
    answer = client.post("tools/lookup", data=uid, timeout=seconds)
    return [str(item["ID"]) for item in answer.json() if item["Type"] == kind]


def open_client(place: HttpService, tls: TlsSettings) -> OrthancApiClient:
    """Make a client of an Orthanc, which over HTTPS must show a certificate that we trust.

    Raises
    ------
    DeliveryFailed
        When the certificates of `tls` cannot be used.
    """
    password = place.password.get_secret_value() if place.password else None
    client = OrthancApiClient(place.url, user=place.user, pwd=password)
    # The client has no other way to be told.
    session = client._http_session  # noqa: SLF001
    # Else the environment would say whom to trust, and which proxy to take.
    session.trust_env = False
    # No certificate is trusted a moment later; ten attempts take minutes.
    retries = session.get_adapter(place.url).max_retries.new(other=0)
    session.mount("https://", _TrustingAdapter(service_context(place, tls), retries))
    # What the adapter trusts besides; without a file the authorities that everyone knows.
    session.verify = True if tls.ca_file is None else str(tls.ca_file)
    return client


def _system(
    client: OrthancApiClient, destination: OrthancDestination, seconds: float
) -> dict[str, Any]:
    try:
        answer = client.get("system", timeout=seconds)
        if answer is None:
            raise _unusable(destination, "its address cannot be used; check url")
        system: dict[str, Any] = answer.json()
    except exceptions.NotAuthorized as exc:
        raise _unusable(destination, "it refuses our login; check user and password") from exc
    except exceptions.HttpError as exc:
        raise _unusable(
            destination,
            f"it answered HTTP {exc.http_status_code}; check that url is that of an Orthanc",
        ) from exc
    except exceptions.OrthancApiException as exc:
        raise _unusable(
            destination, "nothing answers there; check that it runs, and url and firewall"
        ) from exc
    except ValueError as exc:
        raise _unusable(destination, "what answers there is no Orthanc; check url") from exc
    return system


def _upload(
    client: OrthancApiClient,
    item: OutgoingObject,
    destination: OrthancDestination,
    seconds: float,
) -> Outcome:
    uid = item.sop_instance_uid
    try:
        answer = client.post("instances", data=item.path.read_bytes(), timeout=seconds)
        said = str(answer.json()["Status"])
    except exceptions.HttpError as exc:
        code = int(exc.http_status_code)
        return Outcome(
            uid,
            False,
            f"HTTP {code}",
            f"{destination.name} refused the object with HTTP {code}.",
            code not in PASSING,
        )
    except OSError as exc:
        return Outcome(uid, False, "", f"The object cannot be read ({exc.strerror}).", False)
    except (*_NO_USABLE_ANSWER, AttributeError):
        return Outcome(uid, False, "", f"{destination.name} gave no usable answer.", False)
    if said in ACCEPTED:
        return Outcome(uid, True, f"HTTP 200 {said}", "", False)
    return Outcome(
        uid, False, f"HTTP 200 {said}", f"{destination.name} did not store the object.", True
    )


def _unusable(destination: OrthancDestination, reason: str) -> DeliveryFailed:
    return DeliveryFailed(f"{destination.name} ({destination.url}): {reason}.", permanent=False)
