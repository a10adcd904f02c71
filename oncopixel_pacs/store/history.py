"""What was read, study after study, by who sent it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlmodel import col

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import InstanceRow, JobRow, StudyRow

_AT_A_TIME = 500


@dataclass(frozen=True, slots=True)
class ReadStudy:
    """One study that the models read.

    Attributes
    ----------
    sender
        AE title that its images came from; empty for uploads.
    views
        Names of its images, such as ``R CC``.
    """

    study_instance_uid: str
    created_at: datetime
    probability: float
    sender: str
    views: tuple[str, ...]


class History:
    """Reads what became of the studies, in the order they were read."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, most: int) -> tuple[ReadStudy, ...]:
        """List the studies whose last revision has a score of today's models, the oldest first.

        Scores of other models or another version of the software are not comparable, so only
        those count that were made like the latest one.

        Parameters
        ----------
        most
            The latest so many.
        """
        scored = col(JobRow.probability).is_not(None)
        newest = col(JobRow.created_at).desc()
        latest = select(col(JobRow.models_digest)).where(scored).order_by(newest).limit(1)
        query = (
            select(col(JobRow.study_instance_uid), col(JobRow.created_at), col(JobRow.probability))
            .join(StudyRow, col(StudyRow.study_instance_uid) == col(JobRow.study_instance_uid))
            .where(
                scored,
                col(JobRow.models_digest) == latest.scalar_subquery(),
                col(JobRow.revision) == col(StudyRow.revision),
            )
            .order_by(newest)
            .limit(most)
        )
        with self._database.read() as session:
            rows = session.execute(query).all()
            senders: dict[str, str] = {}
            views: dict[str, list[str]] = {}
            uids = [row[0] for row in rows]
            for begin in range(0, len(uids), _AT_A_TIME):
                images = session.execute(
                    select(
                        col(InstanceRow.study_instance_uid),
                        col(InstanceRow.calling_ae_title),
                        col(InstanceRow.facts)["laterality"].as_string(),
                        col(InstanceRow.facts)["view"].as_string(),
                    ).where(
                        col(InstanceRow.study_instance_uid).in_(uids[begin : begin + _AT_A_TIME])
                    )
                )
                for uid, sender, side, view in images:
                    senders[uid] = max(senders.get(uid, ""), sender)
                    views.setdefault(uid, []).append(f"{side or '?'} {view or '?'}")
        return tuple(
            ReadStudy(uid, at, probability, senders.get(uid, ""), tuple(sorted(views.get(uid, ()))))
            for uid, at, probability in reversed(rows)
        )
