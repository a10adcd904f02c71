"""The senders that a person allowed, besides those of the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import ValidationError
from sqlmodel import Session, col, select

from oncopixel_pacs.errors import ConfigurationError, NotFound
from oncopixel_pacs.settings import PeerSettings
from oncopixel_pacs.store.callers import RejectionKind, to_caller
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import AllowedPeerRow, RejectedCallerRow


@dataclass(frozen=True, slots=True)
class AllowedPeer:
    """A sender that a person allowed."""

    id: int
    peer: PeerSettings
    allowed_at: datetime


class AllowedPeers:
    """The allowed senders in the database: one for each AE title and address."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> tuple[AllowedPeer, ...]:
        """List them by AE title and address.

        Raises
        ------
        OutOfResources
            When the database is gone.
        """
        ordered = select(AllowedPeerRow).order_by(
            col(AllowedPeerRow.ae_title), col(AllowedPeerRow.address)
        )
        with self._database.read() as session:
            return tuple(_to_peer(row) for row in session.exec(ordered).all())

    def allow(self, peer: PeerSettings, now: datetime) -> AllowedPeer:
        """Allow a sender; one of the same AE title and address is replaced.

        Raises
        ------
        OutOfResources
            When the database cannot take it.
        """
        with self._database.write() as session:
            return _to_peer(_allow(session, peer, now))

    def allow_rejected(
        self, rejected_id: int, now: datetime, port: int | None = None
    ) -> AllowedPeer:
        """Allow a caller that was rejected, from where and with what certificate it came.

        Parameters
        ----------
        port
            Where it takes storage commitment reports; what is known of it stays when absent.

        Raises
        ------
        NotFound
            When there is no such rejection.
        ConfigurationError
            When naming it among the peers would not let it in.
        OutOfResources
            When the database cannot take it.
        """
        with self._database.write() as session:
            row = session.get(RejectedCallerRow, rejected_id)
            if row is None:
                raise NotFound(f"There is no rejected caller {rejected_id}; list them again.")
            peer = _known_by(row, port)
            allowed = _allow(session, peer, now)
            same = select(RejectedCallerRow).where(
                RejectedCallerRow.calling_ae_title == row.calling_ae_title,
                RejectedCallerRow.address == row.address,
                RejectedCallerRow.kind == RejectionKind.UNKNOWN,
            )
            for settled in session.exec(same).all():
                session.delete(settled)
            return _to_peer(allowed)

    def remove(self, peer_id: int) -> AllowedPeer | None:
        """Allow a sender no longer; ``None`` when there is none of that id.

        Raises
        ------
        OutOfResources
            When the database cannot take it.
        """
        with self._database.write() as session:
            row = session.get(AllowedPeerRow, peer_id)
            if row is None:
                return None
            removed = _to_peer(row)
            session.delete(row)
            return removed


def _known_by(row: RejectedCallerRow, port: int | None) -> PeerSettings:
    caller = to_caller(row)
    if not caller.may_be_allowed:
        raise ConfigurationError(
            f"Allowing it would not let it in ({caller.reason}); correct the sender."
        )
    shown = (caller.certificate_sha256,) if caller.certificate_sha256 else ()
    try:
        return PeerSettings(
            ae_title=caller.calling_ae_title,
            address=caller.address,
            port=port,
            tls=bool(shown) and port is not None,
            certificate_sha256=shown,
        )
    except ValidationError as exc:
        raise ConfigurationError(
            f"{caller.calling_ae_title!r} is no AE title (PS3.5 6.2); correct the sender."
        ) from exc


def _allow(session: Session, peer: PeerSettings, now: datetime) -> AllowedPeerRow:
    address = peer.address or ""
    row = session.exec(
        select(AllowedPeerRow)
        .where(AllowedPeerRow.ae_title == peer.ae_title.strip(), AllowedPeerRow.address == address)
        .with_for_update()
    ).first() or AllowedPeerRow(ae_title=peer.ae_title.strip(), address=address, allowed_at=now)
    if peer.port is not None:
        row.port, row.tls = peer.port, peer.tls
    row.certificate_sha256 = list(peer.certificate_sha256)
    session.add(row)
    session.flush()
    return row


def _to_peer(row: AllowedPeerRow) -> AllowedPeer:
    peer = PeerSettings(
        ae_title=row.ae_title,
        address=row.address or None,
        port=row.port,
        tls=row.tls,
        certificate_sha256=tuple(row.certificate_sha256),
    )
    return AllowedPeer(int(row.id or 0), peer, row.allowed_at)
