"""What was read, study after study, by who sent it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlmodel import col

from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.readings import SEPARATOR, ReadingRow
from oncopixel_pacs.store.tables import StudyRow


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
        newest = col(ReadingRow.created_at).desc()
        latest = select(col(ReadingRow.models_digest)).order_by(newest).limit(1)
        query = (
            select(
                col(ReadingRow.study_instance_uid),
                col(ReadingRow.created_at),
                col(ReadingRow.probability),
                col(ReadingRow.sender),
                col(ReadingRow.views),
            )
            .join(StudyRow, col(StudyRow.study_instance_uid) == col(ReadingRow.study_instance_uid))
            .where(
                col(ReadingRow.models_digest) == latest.scalar_subquery(),
                col(ReadingRow.revision) == col(StudyRow.revision),
            )
            .order_by(newest)
            .limit(most)
        )
        with self._database.read() as session:
            rows = session.execute(query).all()
        return tuple(
            ReadStudy(uid, at, probability, sender, tuple(views.split(SEPARATOR)) if views else ())
            for uid, at, probability, sender, views in reversed(rows)
        )
