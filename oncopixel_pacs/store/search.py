"""Searching what is held: received images, and the result objects of each study's latest job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Select,
    Subquery,
    case,
    func,
    literal,
    or_,
    select,
    union_all,
)
from sqlalchemy.orm import aliased
from sqlmodel import col

from oncopixel_pacs.domain import ObjectKind
from oncopixel_pacs.domain.facts import KEY_OBJECTS
from oncopixel_pacs.store.database import Database
from oncopixel_pacs.store.tables import InstanceRow, JobObjectRow, JobRow, ObjectRow, StudyRow

#: Modality (0008,0060) that result objects of a kind are written with.
MODALITY_OF_KIND = {
    ObjectKind.SEG: "SEG",
    ObjectKind.SR: "SR",
    ObjectKind.CAD_SR: "SR",
    ObjectKind.SC: "OT",
    ObjectKind.GSPS: "PR",
    ObjectKind.KOS: "KO",
    ObjectKind.PDF: "DOC",
    ObjectKind.REJECTION: "KO",
}
#: Columns of a study that hold casefolded text.
_FOLDED = frozenset({"patient_name", "study_description", "referring_physician_name"})
_ESCAPE = "!"
#: How many of the newest studies are looked at before all of them are.
_NEWEST = (200, 2000)
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class HeldObject:
    """One SOP instance that can be given out: an image, or a result of ours.

    Attributes
    ----------
    path
        Part 10 file, relative to the data directory. It names the content, so it never changes.
    """

    study_instance_uid: str
    series_instance_uid: str
    sop_instance_uid: str
    sop_class_uid: str
    modality: str
    path: str
    size_bytes: int
    is_result: bool


@dataclass(frozen=True, slots=True)
class Criteria:
    """What to look for; what is empty is not asked (PS3.4 C.2.2.2).

    Attributes
    ----------
    texts
        Column of a study and its pattern: ``*`` is any text, ``?`` any character.
    ranges
        Column of a study (``study_date``, ``study_time``) and its first and last value, either
        of which may be empty.
    """

    study_instance_uids: Sequence[str] = ()
    series_instance_uids: Sequence[str] = ()
    sop_instance_uids: Sequence[str] = ()
    sop_class_uids: Sequence[str] = ()
    modalities: Sequence[str] = ()
    modalities_in_study: Sequence[str] = ()
    texts: Mapping[str, str] = field(default_factory=dict)
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def of_study(self) -> Criteria:
        """What it asks of the study."""
        return replace(
            self,
            series_instance_uids=(),
            sop_instance_uids=(),
            sop_class_uids=(),
            modalities=(),
        )

    @property
    def asks_for_objects(self) -> bool:
        """Whether it asks for more than attributes of the study."""
        return bool(
            self.series_instance_uids
            or self.sop_instance_uids
            or self.sop_class_uids
            or self.modalities
        )


class Search:
    """Reads the catalogue and the ledger as one list of objects.

    Every list begins with the study that received an image last; inside a study images come
    before results, which viewers need. `limit` and `offset` count what the method returns.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def studies(self, criteria: Criteria, limit: int, offset: int = 0) -> tuple[str, ...]:
        """Study Instance UIDs of the studies that match."""
        query = select(col(StudyRow.study_instance_uid)).where(*_of_study(criteria))
        if criteria.asks_for_objects:
            held = _held(criteria)
            query = query.where(
                col(StudyRow.study_instance_uid).in_(select(held.c.study_instance_uid))
            )
        rows = self._rows(query.order_by(*_newest_first()).limit(limit).offset(offset))
        return tuple(uid for (uid,) in rows)

    def series(
        self, criteria: Criteria, limit: int, offset: int = 0
    ) -> tuple[tuple[str, str], ...]:
        """Study and Series Instance UIDs of the series that match.

        Copied studies have the same series under each of their UIDs.
        """
        return self._newest(criteria, limit + offset, self._series, limit, offset)

    def _series(self, criteria: Criteria, limit: int, offset: int) -> tuple[tuple[str, str], ...]:
        held = _held(criteria)
        query = (
            select(col(StudyRow.study_instance_uid), held.c.series_instance_uid)
            .join(StudyRow, col(StudyRow.study_instance_uid) == held.c.study_instance_uid)
            .where(*_of_study(criteria))
            .group_by(
                col(StudyRow.last_received_at),
                col(StudyRow.study_instance_uid),
                held.c.series_instance_uid,
            )
            .order_by(
                *_newest_first(),
                func.min(_rank(held)),
                held.c.series_instance_uid,
            )
        )
        rows = self._rows(query.limit(limit).offset(offset))
        return tuple((study, series) for study, series in rows)

    def objects(
        self, criteria: Criteria, limit: int | None = None, offset: int = 0
    ) -> tuple[HeldObject, ...]:
        """Objects that match.

        Below a study without what a rejection note takes back (IHE IOCM), unless an object is
        asked for by its own UID: viewers hang what they find there.
        """
        find = partial(self._objects, self._hidden(criteria))
        if limit is None:
            return find(criteria, None, offset)
        return self._newest(criteria, limit + offset, find, limit, offset)

    def _objects(
        self, hidden: Collection[str], criteria: Criteria, limit: int | None, offset: int
    ) -> tuple[HeldObject, ...]:
        held = _held(criteria)
        query = (
            select(*held.c)
            .join(StudyRow, col(StudyRow.study_instance_uid) == held.c.study_instance_uid)
            .where(*_of_study(criteria))
            .order_by(
                *_newest_first(),
                _rank(held),
                held.c.series_instance_uid,
                held.c.sop_instance_uid,
            )
        )
        if hidden:
            query = query.where(held.c.sop_instance_uid.not_in(hidden))
        rows = self._rows(query.limit(limit).offset(offset))
        return tuple(HeldObject(**row._mapping) for row in rows)

    def _hidden(self, criteria: Criteria) -> frozenset[str]:
        """SOP Instance UIDs that rejection notes take back, where they are to be left out."""
        if not criteria.study_instance_uids or criteria.sop_instance_uids:
            return frozenset()
        notes = select(col(InstanceRow.facts)).where(
            col(InstanceRow.study_instance_uid).in_(criteria.study_instance_uids),
            col(InstanceRow.sop_class_uid) == KEY_OBJECTS,
        )
        return frozenset(uid for (facts,) in self._rows(notes) for uid in facts.get("rejects", ()))

    def _newest(
        self,
        criteria: Criteria,
        needed: int,
        find: Callable[[Criteria, int, int], tuple[Item, ...]],
        limit: int,
        offset: int,
    ) -> tuple[Item, ...]:
        """Look among the newest studies first: mostly there are enough to answer."""
        named = criteria.study_instance_uids, criteria.series_instance_uids
        if not any((*named, criteria.sop_instance_uids)):
            for number in _NEWEST:
                uids = self.studies(criteria.of_study, number)
                found = find(replace(criteria, study_instance_uids=uids), needed, 0) if uids else ()
                if len(found) >= needed or len(uids) < number:
                    return found[offset : offset + limit]
        return find(criteria, limit, offset)

    def _rows(self, query: Select[Any]) -> Sequence[Any]:
        with self._database.read() as session:
            return session.execute(query).all()


def _newest_first() -> tuple[ColumnElement[Any], ...]:
    return col(StudyRow.last_received_at).desc(), col(StudyRow.study_instance_uid).desc()


def _rank(held: Subquery) -> Any:
    """0 for images, 1 for what refers to them: viewers need to know images first."""
    refers = held.c.modality.in_(("SEG", "SR", "PR", "KO"))
    return case((refers | held.c.is_result, 1), else_=0)


def _of_study(criteria: Criteria) -> list[ColumnElement[bool]]:
    """Conditions on the row of a study."""
    found: list[ColumnElement[bool]] = [
        _like(name, pattern) for name, pattern in criteria.texts.items()
    ]
    if criteria.study_instance_uids:
        found.append(col(StudyRow.study_instance_uid).in_(criteria.study_instance_uids))
    for name, (first, last) in criteria.ranges.items():
        column: Any = col(getattr(StudyRow, name))
        found.append(column != "")
        if first:
            found.append(column >= first)
        if last:
            # 10:15 is the whole minute: what begins with the end of the range is inside.
            found.append(column <= last + "~")
    if criteria.modalities_in_study:
        found.append(_has_modality(criteria.modalities_in_study))
    return found


def _like(name: str, pattern: str) -> Any:
    column: Any = col(getattr(StudyRow, name))
    if name in _FOLDED:
        pattern = pattern.casefold()
    if "*" not in pattern and "?" not in pattern:
        return column == pattern
    for special in (_ESCAPE, "%", "_"):
        pattern = pattern.replace(special, _ESCAPE + special)
    return column.ilike(pattern.replace("*", "%").replace("?", "_"), escape=_ESCAPE)


def _held(criteria: Criteria) -> Subquery:
    """Images and results in one table, narrowed by what is asked of each object."""
    received = select(
        *_columns(InstanceRow, InstanceRow, col(InstanceRow.modality)),
        literal(False).label("is_result"),
    ).where(
        *_of_object(criteria, InstanceRow, InstanceRow, col(InstanceRow.modality)),
        # What an archive sends back to us is still a result, superseded ones too.
        ~select(col(ObjectRow.sop_instance_uid))
        .where(col(ObjectRow.sop_instance_uid) == col(InstanceRow.sop_instance_uid))
        .exists(),
    )
    return union_all(received, _results(criteria)).subquery("held")


def _results(criteria: Criteria) -> Select[Any]:
    modality = case(
        *((col(ObjectRow.kind) == kind, name) for kind, name in MODALITY_OF_KIND.items()),
        else_="OT",
    )
    return (
        select(*_columns(JobRow, ObjectRow, modality), literal(True).label("is_result"))
        .select_from(ObjectRow)
        .join(
            JobObjectRow,
            col(JobObjectRow.sop_instance_uid) == col(ObjectRow.sop_instance_uid),
        )
        .join(JobRow, col(JobRow.id) == col(JobObjectRow.job_id))
        .where(
            col(JobRow.id) == _latest_job(),
            col(JobObjectRow.position) >= 0,
            *_of_object(criteria, JobRow, ObjectRow, modality),
        )
    )


def _has_modality(modalities: Sequence[str]) -> ColumnElement[bool]:
    """Whether a study has an image or a result of one of these."""
    uid = col(StudyRow.study_instance_uid)
    wanted = Criteria(modalities=modalities)
    image = (
        select(literal(1))
        .select_from(InstanceRow)
        .where(
            col(InstanceRow.study_instance_uid) == uid, col(InstanceRow.modality).in_(modalities)
        )
        .correlate(StudyRow)
    )
    result = _results(wanted).where(col(JobRow.study_instance_uid) == uid).correlate(StudyRow)
    return or_(image.exists(), result.exists())


def _columns(study: Any, row: Any, modality: Any) -> list[Any]:
    return [
        col(study.study_instance_uid),
        col(row.series_instance_uid),
        col(row.sop_instance_uid),
        col(row.sop_class_uid),
        modality.label("modality"),
        col(row.path),
        col(row.size_bytes),
    ]


def _latest_job() -> Any:
    """Newest job of the study that has written something, or that nothing holds any more."""
    other = aliased(JobRow)
    wrote = or_(
        col(other.written),
        select(col(JobObjectRow.job_id)).where(col(JobObjectRow.job_id) == col(other.id)).exists(),
    )
    return (
        select(col(other.id))
        .where(col(other.study_instance_uid) == col(JobRow.study_instance_uid), wrote)
        .order_by(col(other.created_at).desc(), col(other.id).desc())
        .limit(1)
        .correlate(JobRow)
        .scalar_subquery()
    )


def _of_object(
    criteria: Criteria, study: Any, row: Any, modality: Any
) -> list[ColumnElement[bool]]:
    asked: tuple[tuple[Any, Sequence[str]], ...] = (
        (col(study.study_instance_uid), criteria.study_instance_uids),
        (col(row.series_instance_uid), criteria.series_instance_uids),
        (col(row.sop_instance_uid), criteria.sop_instance_uids),
        (col(row.sop_class_uid), criteria.sop_class_uids),
        (modality, criteria.modalities),
    )
    return [column.in_(values) for column, values in asked if values]
