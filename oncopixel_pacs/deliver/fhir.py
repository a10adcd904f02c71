"""Posts a transaction to a FHIR server (beta)."""

from __future__ import annotations

from datetime import datetime

import httpx

from oncopixel_pacs.errors import DeliveryFailed
from oncopixel_pacs.settings import ExportSettings
from oncopixel_pacs.web_trust import web_context

#: The server read it and does not take what it says; it will not another time either.
_HOPELESS = frozenset({400, 405, 410, 413, 415, 422})


def post_transaction(
    export: ExportSettings, message_id: str, at: datetime, body: bytes, timeout_seconds: float
) -> int:
    """Send one transaction, once.

    Parameters
    ----------
    message_id
        The same for every attempt, as ``X-Request-Id``.
    at
        Of the attempt; the transaction bears its own times.

    Returns
    -------
    int
        HTTP status, of 200 to 299.

    Raises
    ------
    DeliveryFailed
        When it was not taken; permanent when the server refuses what it says.
    """
    headers = {
        "Content-Type": "application/fhir+json",
        "Accept": "application/fhir+json",
        "User-Agent": "OncoPixel-PACS",
        "X-Request-Id": message_id,
    }
    if export.token:
        headers["Authorization"] = f"Bearer {export.token.get_secret_value()}"
    password = "" if export.password is None else export.password.get_secret_value()
    user = None if export.user is None else httpx.BasicAuth(export.user, password)
    try:
        with (
            httpx.Client(
                trust_env=False, verify=web_context(), timeout=timeout_seconds, auth=user
            ) as client,
            # The status says it all, and what comes after it may have no end.
            client.stream("POST", export.url, content=body, headers=headers) as answer,
        ):
            status = answer.status_code
    except httpx.HTTPError as exc:
        raise DeliveryFailed(
            f"{export.name} gave no answer ({type(exc).__name__}); it is sent again.",
            permanent=False,
        ) from exc
    if not 200 <= status < 300:
        hopeless = status in _HOPELESS
        how = "look at the log of that server" if hopeless else "it is sent again"
        raise DeliveryFailed(
            f"{export.name} answered {status}; {how}.", permanent=hopeless, status=str(status)
        )
    return status
