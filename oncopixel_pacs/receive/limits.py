"""How much one sender may ask of the acceptor."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """What one sender may ask of the acceptor.

    Attributes
    ----------
    pdu_bytes
        Largest P-DATA-TF PDU; the maximum length that is negotiated (PS3.8 D.1).
    request_pdu_bytes
        Largest PDU before an association stands; 128 proposed contexts fit.
    pdu_seconds
        How long the header, and then the body, of one PDU may take.
    request_seconds
        How long a connection may wait before it asks for an association; and a TLS handshake.
    idle_seconds
        How long an association may be silent.
    dataset_bytes
        Largest data set of a C-STORE.
    unspooled_bytes
        Largest message that is held in memory: a command set.
    associations, associations_per_address
        Associations at a time: in all, and from one address.
    waiting, waiting_per_address
        Connections at a time that have no association yet; beyond, the oldest is cut.
    """

    pdu_bytes: int = 128 << 10
    request_pdu_bytes: int = 256 << 10
    pdu_seconds: float = 15.0
    request_seconds: float = 15.0
    idle_seconds: float = 120.0
    dataset_bytes: int = 2 << 30
    unspooled_bytes: int = 1 << 20
    associations: int = 64
    associations_per_address: int = 32
    waiting: int = 128
    waiting_per_address: int = 32


DEFAULT_LIMITS = Limits()
