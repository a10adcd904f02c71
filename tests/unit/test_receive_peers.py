"""Who may open associations, and where a peer is called back."""

from __future__ import annotations

import pytest

from oncopixel_pacs.receive.peers import called_back, is_known
from oncopixel_pacs.settings import PeerSettings

PEERS = (
    PeerSettings(ae_title="ROOM1", address="10.0.0.1"),
    PeerSettings(ae_title="ROOM2"),
    PeerSettings(ae_title="ROOM6", address="::1"),
)


@pytest.mark.parametrize(
    ("title", "address", "known"),
    [
        ("ROOM1", "10.0.0.1", True),
        ("ROOM1", "10.0.0.2", False),
        ("ROOM2", "10.0.0.2", True),
        ("ROOM3", "10.0.0.1", False),
        ("ROOM6", "0:0:0:0:0:0:0:1", True),
        ("room1", "10.0.0.1", False),
    ],
)
def test_title_and_address_must_both_fit(title: str, address: str, known: bool) -> None:
    assert is_known(PEERS, title, address) is known


def test_without_peers_anyone_may_call() -> None:
    assert is_known((), "ANYONE", "192.0.2.7")


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
