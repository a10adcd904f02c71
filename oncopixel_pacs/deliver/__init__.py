"""Sending result objects to destinations, one module per kind of destination."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from oncopixel_pacs.deliver import cstore, folder, orthanc, stow
from oncopixel_pacs.deliver.outcome import Outcome, OutgoingObject
from oncopixel_pacs.settings import DestinationSettings, TlsSettings

__all__ = ["PLAIN", "Outcome", "OutgoingObject", "echo", "send"]

#: No certificate, and the system's authorities.
PLAIN = TlsSettings()
#: Type of a destination to the module that serves it; each has `send` and `echo` as below.
COURIERS: Mapping[str, Any] = {
    "cstore": cstore,
    "orthanc": orthanc,
    "stow": stow,
    "folder": folder,
}


def send(
    objects: Sequence[OutgoingObject],
    destination: DestinationSettings,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings = PLAIN,
) -> Iterator[Outcome]:
    """Send stored objects as they are; the same bytes each time.

    Parameters
    ----------
    calling_ae_title
        Our AE title; only C-STORE uses it.
    timeout_seconds
        How long the destination may be silent.
    tls
        Our certificate and whom we trust, for destinations that are reached over TLS.

    Yields
    ------
    Outcome
        One per object, in their order, as soon as it is known.

    Raises
    ------
    DeliveryFailed
        When the destination as a whole cannot be used, before anything was sent.
    """
    yield from COURIERS[destination.type].send(
        objects,
        destination,
        calling_ae_title=calling_ae_title,
        timeout_seconds=timeout_seconds,
        tls=tls,
    )


def echo(
    destination: DestinationSettings,
    *,
    calling_ae_title: str,
    timeout_seconds: float,
    tls: TlsSettings = PLAIN,
) -> str:
    """Ask a destination whether it is there: C-ECHO, Orthanc's system page, a written file.

    Returns
    -------
    str
        What it answered, in a few words.

    Raises
    ------
    DeliveryFailed
        When it cannot be used; the message says what to check.
    """
    answer: str = COURIERS[destination.type].echo(
        destination,
        calling_ae_title=calling_ae_title,
        timeout_seconds=timeout_seconds,
        tls=tls,
    )
    return answer
