"""Who may call, and where a caller is called back."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from oncopixel_pacs.settings import PeerSettings


def is_known(peers: Iterable[PeerSettings], calling_ae_title: str, address: str) -> bool:
    """Whether a caller may open associations; anyone may when no peer is configured.

    Parameters
    ----------
    address
        IP address it calls from.
    """
    known = tuple(peers)
    return not known or any(_is(peer, calling_ae_title, address) for peer in known)


def why_unknown(peers: Iterable[PeerSettings], calling_ae_title: str) -> str:
    """Say in words why a caller is not known; the reason code of DICOM is the same for both."""
    if any(peer.ae_title.strip() == calling_ae_title for peer in peers):
        return "it is in [[peers]] with another address"
    return "it is not in [[peers]]"


def called_back(
    peers: Iterable[PeerSettings], calling_ae_title: str, address: str
) -> PeerSettings | None:
    """Find the peer that a caller is, if it has a port of its own that can be called."""
    return next(
        (peer for peer in peers if peer.port and _is(peer, calling_ae_title, address)), None
    )


def _is(peer: PeerSettings, calling_ae_title: str, address: str) -> bool:
    return peer.ae_title.strip() == calling_ae_title and (
        peer.address is None or _same_address(peer.address, address)
    )


def _same_address(configured: str, actual: str) -> bool:
    try:
        return ipaddress.ip_address(configured) == ipaddress.ip_address(actual)
    except ValueError:
        return configured == actual
