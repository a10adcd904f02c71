"""Speaks to OncoPixel PACS by HTTP."""

import logging
import time
from urllib.parse import quote

import httpx
from django.conf import settings

logger = logging.getLogger(__name__)

#: For how long an upload comes again while the server takes others.
PATIENCE_SECONDS = 60


class Refused(Exception):
    """The server did not take the image, or cannot be reached; the text says why."""


class Away(Exception):
    """The server gives no answer now, and may later; the text says why."""


def send(name, stream, said):
    """Upload one image; returns the id of the upload."""
    try:
        with _client() as client:
            answer = _send_until_taken(client, name, stream, said)
    except httpx.TransportError as exc:
        raise Refused("The server cannot be reached; try again later.") from exc
    if answer.status_code != 202:
        raise Refused(_sentence(answer))
    return answer.json()["id"]


def upload(upload_id):
    """Return what came of an upload; None when there is no such upload."""
    return _found(f"/api/v1/uploads/{quote(upload_id)}", lambda answer: answer.json())


def picture(job_id, sop_instance_uid):
    """Return the PNG of one image with its findings outlined; None when there is none."""
    path = f"/api/v1/jobs/{quote(job_id)}/images/{quote(sop_instance_uid)}/overlay.png"
    return _found(path, lambda answer: answer.content)


def _send_until_taken(client, name, stream, said):
    """Come again when the server says so: the same upload sent twice is one."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        stream.seek(0)
        answer = client.post("/api/v1/images", files={"file": (name, stream)}, data=said)
        wait = answer.headers.get("Retry-After", "")
        if answer.status_code != 503 or not wait.isdigit():
            return answer
        if time.monotonic() + int(wait) > until:
            return answer
        time.sleep(int(wait))


def _found(path, read):
    try:
        with _client() as client:
            answer = client.get(path)
    except httpx.TransportError as exc:
        raise Away("The server cannot be reached.") from exc
    if answer.status_code == 404:
        return None
    if answer.status_code != 200:
        raise Away(_sentence(answer))
    return read(answer)


def _sentence(answer):
    """Return what the server says of an error; a proxy before it says it in no JSON."""
    if answer.status_code in (401, 403):
        # It speaks to whoever holds the token, who is not the one that reads this.
        logger.error("OncoPixel PACS does not take ONCOPIXEL_TOKEN (HTTP %d)", answer.status_code)
        return "The server does not let this site in; tell those who run the site."
    try:
        return answer.json()["detail"]
    except (ValueError, LookupError, TypeError):
        return f"The server cannot answer now (HTTP {answer.status_code}); try again later."


def _client():
    headers = {"X-Requested-With": "django"}
    if settings.ONCOPIXEL_TOKEN:
        headers["Authorization"] = f"Bearer {settings.ONCOPIXEL_TOKEN}"
    return httpx.Client(base_url=settings.ONCOPIXEL_URL, headers=headers, timeout=120)
