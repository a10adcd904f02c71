"""What is known of every study that still waits, in one short query, however often it is asked."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlmodel import Session

from oncopixel_pacs.domain import StudyState
from oncopixel_pacs.store.tables import InstanceRow, StudyRow

_STUDY: Any = StudyRow.__table__  # type: ignore[attr-defined]
_INSTANCE: Any = InstanceRow.__table__  # type: ignore[attr-defined]

#: Built once: SQLAlchemy finds what it compiled for a statement by its parts.
_OPEN = (
    select(
        _STUDY.c.study_instance_uid,
        _STUDY.c.revision,
        _STUDY.c.last_received_at,
        _STUDY.c.completed_at,
        select(func.count())
        .where(_INSTANCE.c.study_instance_uid == _STUDY.c.study_instance_uid)
        .scalar_subquery(),
        _STUDY.c.unsettled_since,
        _STUDY.c.waiting_for,
    )
    .where(_STUDY.c.state == StudyState.RECEIVING)
    .order_by(_STUDY.c.first_received_at)
)


@dataclass(frozen=True, slots=True)
class OpenStudy:
    """A study that is not settled, without its images.

    Attributes
    ----------
    completed_at
        When someone said that nothing more will come.
    images
        How many are held, those of earlier revisions included.
    unsettled_since
        When the first image arrived that is in no revision yet.
    """

    study_instance_uid: str
    revision: int
    last_received_at: datetime
    completed_at: datetime | None
    images: int
    unsettled_since: datetime | None
    waiting_for: str

    @property
    def mark(self) -> tuple[object, ...]:
        """Another one whenever an image came, was replaced or left, or someone said it is all.

        Times alone do not tell: an image may be recorded after one that was received later.
        """
        return self.last_received_at, self.completed_at, self.images


def open_studies(session: Session) -> tuple[OpenStudy, ...]:
    """Every study that is not settled, oldest first."""
    return tuple(OpenStudy(*row) for row in session.connection().execute(_OPEN))
