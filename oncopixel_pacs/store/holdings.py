"""What is recorded under SOP Instance UIDs, conflicts included."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlmodel import Session, col, select

from oncopixel_pacs.store.rows import to_instance
from oncopixel_pacs.store.tables import ConflictRow, InstanceRow


@dataclass(frozen=True, slots=True)
class Holding:
    """What is recorded under a SOP Instance UID: path and digest of each content, and its study."""

    sop_class_uid: str
    files: tuple[tuple[str, str], ...]
    study_instance_uid: str = ""


def holdings_of(session: Session, uids: Sequence[str]) -> dict[str, Holding]:
    """Look up what is recorded under each of some UIDs; those that are unknown are left out."""
    conflicts = session.exec(
        select(ConflictRow).where(col(ConflictRow.sop_instance_uid).in_(uids))
    ).all()
    rows = session.exec(
        select(InstanceRow).where(col(InstanceRow.sop_instance_uid).in_(uids))
    ).all()
    return {
        row.sop_instance_uid: Holding(
            to_instance(row).facts.sop_class_uid,
            (
                (row.path, row.digest),
                *(
                    (other.path, other.digest)
                    for other in conflicts
                    if other.sop_instance_uid == row.sop_instance_uid
                ),
            ),
            row.study_instance_uid,
        )
        for row in rows
    }
