"""Who may call, why someone may not, and where a caller is called back."""

from __future__ import annotations

import ipaddress
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import structlog

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.settings import CStoreDestination, PeerSettings, Settings
from oncopixel_pacs.store.callers import RejectionKind
from oncopixel_pacs.store.peers import AllowedPeers

log = structlog.get_logger()

#: How old the list of allowed peers may be: before someone is let in, and before one is not.
FRESH_SECONDS = 1.0
DOUBTED_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Caller:
    """What is known of whoever calls.

    Attributes
    ----------
    address
        IP address it calls from.
    secured
        Whether it came over TLS.
    certificate_sha256
        Digest of the certificate that it showed; empty without.
    """

    ae_title: str
    address: str
    secured: bool = False
    certificate_sha256: str = ""


@dataclass(frozen=True, slots=True)
class Objection:
    """Why a caller is not let in; DICOM has one reason code for all of them."""

    kind: RejectionKind
    words: str


def objection(peers: Iterable[PeerSettings], caller: Caller) -> Objection | None:
    """Why a caller is none of these peers; ``None`` when it is one."""
    titled = [peer for peer in peers if peer.ae_title.strip() == caller.ae_title]
    placed = [peer for peer in titled if _calls_from(peer, caller.address)]
    if any(_shows(peer, caller) for peer in placed):
        return None
    if placed and not caller.secured:
        return Objection(RejectionKind.PLAIN, "it must come over TLS with its certificate")
    if placed:
        return Objection(RejectionKind.UNKNOWN, "it is known with another certificate")
    if titled:
        return Objection(RejectionKind.UNKNOWN, "it is known with another address")
    return Objection(RejectionKind.UNKNOWN, "it is not among the peers")


def called_back(peers: Iterable[PeerSettings], ae_title: str, address: str) -> PeerSettings | None:
    """Find the peer that a caller is, if it has a port of its own that can be called."""
    return next(
        (
            peer
            for peer in peers
            if peer.port and peer.ae_title.strip() == ae_title and _calls_from(peer, address)
        ),
        None,
    )


def reporting_archives(settings: Settings) -> tuple[PeerSettings, ...]:
    """Destinations that bring storage commitment reports on associations of their own.

    One that is named by a host name may call from several addresses; it is known only where it
    is among ``[[peers]]``.
    """
    return tuple(
        PeerSettings(ae_title=item.ae_title, address=item.host)
        for item in settings.destinations
        if isinstance(item, CStoreDestination)
        and item.proof in ("auto", "commitment")
        and _is_address(item.host)
    )


class PeerBook:
    """The peers of the configuration, archives that report to us, and those allowed since.

    The latter may be changed by another process at any time, so they are read again after a
    second, and at once before someone is turned away. While the database is gone the last
    list holds.
    """

    def __init__(
        self,
        settings: Settings,
        allowed: AllowedPeers,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._configured = (*settings.peers, *reporting_archives(settings))
        self._takes_anyone = settings.takes_anyone
        self._allowed = allowed
        self._clock = clock
        self._lock = threading.Lock()
        self._read: tuple[PeerSettings, ...] = ()
        self._read_at = -FRESH_SECONDS

    def objection(self, caller: Caller) -> Objection | None:
        """Why a caller may not open associations; ``None`` when it may."""
        if self._takes_anyone or objection(self.known(), caller) is None:
            return None
        return objection(self.known(DOUBTED_SECONDS), caller)

    def called_back(self, ae_title: str, address: str) -> PeerSettings | None:
        """Find the peer that a caller is, if it has a port of its own that can be called."""
        return called_back(self.known(), ae_title, address)

    def known(self, age_seconds: float = FRESH_SECONDS) -> tuple[PeerSettings, ...]:
        """Everyone who may call, read no longer ago than so many seconds."""
        with self._lock:
            if self._clock() - self._read_at >= age_seconds:
                try:
                    self._read = tuple(item.peer for item in self._allowed.all())
                except OutOfResources as exc:
                    log.warning("association.peers_unread", reason=exc.for_log)
                self._read_at = self._clock()
            return (*self._configured, *self._read)


def _calls_from(peer: PeerSettings, address: str) -> bool:
    return peer.address is None or _same_address(peer.address, address)


def _shows(peer: PeerSettings, caller: Caller) -> bool:
    pinned = peer.certificate_sha256
    return not pinned or (caller.secured and caller.certificate_sha256 in pinned)


def _same_address(configured: str, actual: str) -> bool:
    try:
        return ipaddress.ip_address(configured) == ipaddress.ip_address(actual)
    except ValueError:
        return configured == actual


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
