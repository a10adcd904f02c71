"""Who may open associations, and where a peer is called back."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from builders import NOON

from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.receive.peers import Caller, PeerBook, called_back, objection
from oncopixel_pacs.settings import PeerSettings, Settings
from oncopixel_pacs.store.callers import RejectionKind
from oncopixel_pacs.store.peers import AllowedPeer

PINNED = "ab" * 32
PEERS = (
    PeerSettings(ae_title="ROOM1", address="10.0.0.1"),
    PeerSettings(ae_title="ROOM2"),
    PeerSettings(ae_title="ROOM6", address="::1"),
    PeerSettings(ae_title="ROOM8", address="10.0.0.8", certificate_sha256=(PINNED,)),
)
UNKNOWN, PLAIN = RejectionKind.UNKNOWN, RejectionKind.PLAIN


@pytest.mark.parametrize(
    ("caller", "kind", "words"),
    [
        (Caller("ROOM1", "10.0.0.1"), None, ""),
        (Caller("ROOM1", "10.0.0.1", True, "cd" * 32), None, ""),
        (Caller("ROOM2", "10.0.0.2"), None, ""),
        (Caller("ROOM6", "0:0:0:0:0:0:0:1"), None, ""),
        (Caller("ROOM8", "10.0.0.8", True, PINNED), None, ""),
        (Caller("ROOM1", "10.0.0.2"), UNKNOWN, "it is known with another address"),
        (Caller("ROOM3", "10.0.0.1"), UNKNOWN, "it is not among the peers"),
        (Caller("room1", "10.0.0.1"), UNKNOWN, "it is not among the peers"),
        (Caller("ROOM8", "10.0.0.8", True, "cd" * 32), UNKNOWN, "with another certificate"),
        (Caller("ROOM8", "10.0.0.8", True), UNKNOWN, "with another certificate"),
        (Caller("ROOM8", "10.0.0.8"), PLAIN, "it must come over TLS with its certificate"),
        (Caller("ROOM8", "10.0.0.9", True, PINNED), UNKNOWN, "with another address"),
    ],
)
def test_title_address_and_certificate_must_all_fit(
    caller: Caller, kind: RejectionKind | None, words: str
) -> None:
    found = objection(PEERS, caller)
    if kind is None:
        assert found is None
    else:
        assert found is not None
        assert found.kind is kind
        assert words in found.words


CALLED = PeerSettings(ae_title="ROOM7", address="10.0.0.7", port=104)


@pytest.mark.parametrize(
    ("title", "address", "found"),
    [
        ("ROOM7", "10.0.0.7", CALLED),
        ("ROOM7", "10.0.0.8", None),
        ("ROOM1", "10.0.0.1", None),
        ("ROOM3", "10.0.0.7", None),
    ],
    ids=["with a port", "from elsewhere", "without a port", "unknown"],
)
def test_only_a_peer_with_a_port_is_called_back(
    title: str, address: str, found: PeerSettings | None
) -> None:
    assert called_back((*PEERS, CALLED), title, address) == found


@dataclass
class Allowed:
    """What another process wrote, and how often it was read."""

    peers: tuple[AllowedPeer, ...] = ()
    away: bool = False
    reads: int = 0

    def all(self) -> tuple[AllowedPeer, ...]:
        self.reads += 1
        if self.away:
            raise OutOfResources("The database is away.")
        return self.peers


@dataclass
class Clock:
    now: float = 0.0

    def __call__(self) -> float:
        return self.now


def book(allowed: Allowed, clock: Clock, **options: object) -> PeerBook:
    settings = Settings.model_validate({"dimse_host": "0.0.0.0", **options})  # noqa: S104
    return PeerBook(settings, allowed, clock)  # type: ignore[arg-type]


ROOM1 = Caller("ROOM1", "10.0.0.1")


def test_without_peers_whoever_is_on_this_machine_may_call_and_nobody_else() -> None:
    allowed, clock = Allowed(), Clock()
    assert book(allowed, clock, dimse_host="127.0.0.1").objection(ROOM1) is None
    assert book(allowed, clock).objection(ROOM1) is not None


def test_who_is_allowed_comes_in_and_who_is_removed_does_not() -> None:
    allowed, clock = Allowed(), Clock()
    peers = book(allowed, clock)
    assert peers.objection(ROOM1) is not None
    allowed.peers = (AllowedPeer(1, PEERS[0], NOON),)
    clock.now += 0.2
    assert peers.objection(ROOM1) is None
    allowed.peers = ()
    clock.now += 0.5
    assert peers.objection(ROOM1) is None
    clock.now += 1.0
    assert peers.objection(ROOM1) is not None


def test_a_flood_of_strangers_is_not_a_flood_of_queries() -> None:
    allowed, clock = Allowed(), Clock()
    peers = book(allowed, clock)
    for _ in range(1000):
        clock.now += 0.001
        peers.objection(Caller("STRANGER", "10.0.0.66"))
    assert allowed.reads <= 11


def test_while_the_database_is_away_the_last_list_holds() -> None:
    allowed, clock = Allowed((AllowedPeer(1, PEERS[0], NOON),)), Clock()
    peers = book(allowed, clock, peers=[{"ae_title": "ROOM9"}])
    assert peers.objection(ROOM1) is None
    allowed.away = True
    clock.now += 100
    assert peers.objection(ROOM1) is None
    assert peers.objection(Caller("ROOM9", "10.0.0.9")) is None
    assert peers.objection(Caller("ROOM3", "10.0.0.9")) is not None
