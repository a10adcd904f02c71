"""Rows of objects that arrived: many in one transaction, with few statements for all of them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Dialect, bindparam, case, func, insert, select, update

from oncopixel_pacs.domain import Instance, IntakeOutcome, StudyHeader, StudyState
from oncopixel_pacs.errors import OutOfResources
from oncopixel_pacs.store.driver_statement import DriverStatement
from oncopixel_pacs.store.rows import dump_facts, dump_header, study_keys, write_facts
from oncopixel_pacs.store.tables import ConflictRow, DeletionRow, InstanceRow, StudyRow

_STUDY: Any = StudyRow.__table__  # type: ignore[attr-defined]
_INSTANCE: Any = InstanceRow.__table__  # type: ignore[attr-defined]
_CONFLICT: Any = ConflictRow.__table__  # type: ignore[attr-defined]
_DELETION: Any = DeletionRow.__table__  # type: ignore[attr-defined]

#: Built once: SQLAlchemy finds what it compiled for a statement by its parts.
_HELD = select(
    _INSTANCE.c.sop_instance_uid, _INSTANCE.c.study_instance_uid, _INSTANCE.c.digest
).where(_INSTANCE.c.sop_instance_uid.in_(bindparam("uids", expanding=True)))
_CONFLICTS = select(_CONFLICT.c.sop_instance_uid, _CONFLICT.c.digest).where(
    _CONFLICT.c.sop_instance_uid.in_(bindparam("uids", expanding=True))
)
#: In one order, so that two processes never wait for each other.
_STUDIES = (
    select(
        _STUDY.c.study_instance_uid,
        _STUDY.c.last_received_at,
        _STUDY.c.unsettled_since,
        _STUDY.c.conflicts,
    )
    .where(_STUDY.c.study_instance_uid.in_(bindparam("uids", expanding=True)))
    .order_by(_STUDY.c.study_instance_uid)
    .with_for_update()
)
#: A study that comes again after it was deleted goes on counting: results never share a UID.
_DELETED = (
    select(
        _DELETION.c.study_instance_uid,
        func.max(_DELETION.c.revision),
        func.count() - func.count(_DELETION.c.removed_at),
    )
    .where(_DELETION.c.study_instance_uid.in_(bindparam("uids", expanding=True)))
    .group_by(_DELETION.c.study_instance_uid)
)
_WAIT_AGAIN = (
    update(_STUDY)
    .where(_STUDY.c.study_instance_uid == bindparam("uid"))
    .values(
        state=StudyState.RECEIVING,
        last_received_at=bindparam("last"),
        unsettled_since=bindparam("since"),
    )
)
_NOW = bindparam("now", type_=_STUDY.c.last_received_at.type)
#: A study that is waiting already: its state, which is indexed, is left alone.
_WAIT_ON = (
    update(_STUDY)
    .where(
        _STUDY.c.study_instance_uid == bindparam("uid"),
        _STUDY.c.state == StudyState.RECEIVING,
        _STUDY.c.unsettled_since.is_not(None),
    )
    .values(
        last_received_at=case(
            (_STUDY.c.last_received_at < _NOW, _NOW),
            else_=_STUDY.c.last_received_at,
        )
    )
)
_ADD_INSTANCE = insert(_INSTANCE)
_COUNT_CONFLICTS = (
    update(_STUDY)
    .where(_STUDY.c.study_instance_uid == bindparam("uid"))
    .values(conflicts=_STUDY.c.conflicts + bindparam("more"))
)


@dataclass
class _Arrivals:
    """What a batch changes, put together before anything is written."""

    studies: dict[str, dict[str, Any]] = field(default_factory=dict)
    deleted: dict[str, int] = field(default_factory=dict)
    new_studies: dict[str, dict[str, Any]] = field(default_factory=dict)
    touched: dict[str, dict[str, Any]] = field(default_factory=dict)
    instances: list[dict[str, Any]] = field(default_factory=list)
    conflicts: list[dict[str, Any]] = field(default_factory=list)
    conflicts_of: dict[str, int] = field(default_factory=dict)

    def add_instance(self, instance: Instance, header: StudyHeader) -> None:
        uid, now = instance.facts.study_instance_uid, instance.received_at
        study = self.studies.get(uid)
        if study is None:
            self.new_studies[uid] = self.studies[uid] = {
                **_new_study(instance, header),
                "revision": self.deleted.get(uid, 0),
            }
        else:
            study["last_received_at"] = max(study["last_received_at"], now)
            study["unsettled_since"] = study["unsettled_since"] or now
            if uid not in self.new_studies:
                self.touched[uid] = study
        self.instances.append(_instance_values(instance))

    def add_conflict(self, instance: Instance, study_instance_uid: str) -> None:
        self.conflicts.append(
            {
                "sop_instance_uid": instance.facts.sop_instance_uid,
                "study_instance_uid": study_instance_uid,
                "path": instance.path,
                "digest": instance.digest,
                "received_at": instance.received_at,
                "calling_ae_title": instance.calling_ae_title,
            }
        )
        count = self.conflicts_of.get(study_instance_uid, 0)
        self.conflicts_of[study_instance_uid] = count + 1

    def write(self, connection: Connection) -> None:
        if self.new_studies:
            connection.execute(insert(_STUDY), list(self.new_studies.values()))
        if self.touched:
            changes = [
                {"uid": uid, "last": study["last_received_at"], "since": study["unsettled_since"]}
                for uid, study in self.touched.items()
            ]
            connection.execute(_WAIT_AGAIN, changes)
        if self.instances:
            connection.execute(_ADD_INSTANCE, self.instances)
        if self.conflicts:
            connection.execute(insert(_CONFLICT), self.conflicts)
            changes = [{"uid": uid, "more": more} for uid, more in self.conflicts_of.items()]
            connection.execute(_COUNT_CONFLICTS, changes)


def record(
    connection: Connection, batch: Sequence[tuple[Instance, StudyHeader]]
) -> list[IntakeOutcome]:
    """Write the rows of some instances, and of their studies, in the order of their coming.

    Returns
    -------
    list of IntakeOutcome
        One for each, as if they had been recorded one after the other.

    Raises
    ------
    OutOfResources
        When one is of a study that is being deleted.
    """
    uids = list({instance.facts.sop_instance_uid for instance, _ in batch})
    held = {
        uid: (study, digest) for uid, study, digest in connection.execute(_HELD, {"uids": uids})
    }
    kept_apart: set[tuple[str, str]] = set()
    if held:
        kept_apart = {
            (uid, digest) for uid, digest in connection.execute(_CONFLICTS, {"uids": uids})
        }
    studies = _known_studies(connection, batch)
    unknown = {item.facts.study_instance_uid for item, _ in batch} - studies.keys()
    arrivals = _Arrivals(studies, _deleted(connection, unknown))
    outcomes = []
    for instance, header in batch:
        uid, digest = instance.facts.sop_instance_uid, instance.digest
        if uid not in held:
            arrivals.add_instance(instance, header)
            held[uid] = (instance.facts.study_instance_uid, digest)
            outcomes.append(IntakeOutcome.NEW)
        elif held[uid][1] == digest:
            outcomes.append(IntakeOutcome.DUPLICATE)
        else:
            if (uid, digest) not in kept_apart:
                kept_apart.add((uid, digest))
                arrivals.add_conflict(instance, held[uid][0])
            outcomes.append(IntakeOutcome.CONFLICT)
    arrivals.write(connection)
    return outcomes


class MoreArrivals:
    """New instances of studies that are waiting already: most of what ever comes."""

    def __init__(self, dialect: Dialect) -> None:
        self._wait_on = DriverStatement(_WAIT_ON, dialect)
        self._add = DriverStatement(_ADD_INSTANCE, dialect, as_text=("facts",))

    def record(self, cursor: Any, batch: Sequence[tuple[Instance, StudyHeader]]) -> bool:
        """Write their rows without asking first.

        Parameters
        ----------
        cursor
            The driver's; its error of integrity says that one is held already.

        Returns
        -------
        bool
            Whether that is what they were; otherwise the transaction is to be undone.
        """
        last: dict[str, datetime] = {}
        for item, _ in batch:
            uid = item.facts.study_instance_uid
            last[uid] = max(last.get(uid, item.received_at), item.received_at)
        # The study before its instances, as in `record`, and studies in one order: whoever has
        # the first has them all, so that two processes never wait for each other.
        for uid, now in sorted(last.items()):
            if self._wait_on.execute(cursor, [{"uid": uid, "now": now}]) != 1:
                return False
        rows = [{**_columns(item), "facts": write_facts(item.facts)} for item, _ in batch]
        self._add.execute(cursor, rows)
        return True


def _known_studies(
    connection: Connection, batch: Sequence[tuple[Instance, StudyHeader]]
) -> dict[str, dict[str, Any]]:
    uids = list({instance.facts.study_instance_uid for instance, _ in batch})
    return {
        row.study_instance_uid: dict(row._mapping)
        for row in connection.execute(_STUDIES, {"uids": uids})
    }


def _deleted(connection: Connection, uids: Collection[str]) -> dict[str, int]:
    """Last revision of those that were deleted.

    None begins anew before its files are gone: nobody could tell old ones from new ones, for an
    object that is sent again has the path that it had.
    """
    if not uids:
        return {}
    found = connection.execute(_DELETED, {"uids": sorted(uids)}).all()
    if any(leaving for _, _, leaving in found):
        raise OutOfResources("The object was being deleted; send it again.")
    return {uid: last for uid, last, _ in found}


def _new_study(instance: Instance, header: StudyHeader) -> dict[str, Any]:
    now = instance.received_at
    return {
        "study_instance_uid": instance.facts.study_instance_uid,
        "state": StudyState.RECEIVING,
        "first_received_at": now,
        "last_received_at": now,
        "unsettled_since": now,
        "completed_at": None,
        "waiting_for": "",
        "conflicts": 0,
        "header": dump_header(header),
        **study_keys(header),
    }


def _instance_values(instance: Instance) -> dict[str, Any]:
    return {**_columns(instance), "facts": dump_facts(instance.facts)}


def _columns(instance: Instance) -> dict[str, Any]:
    facts = instance.facts
    return {
        "sop_instance_uid": facts.sop_instance_uid,
        "study_instance_uid": facts.study_instance_uid,
        "path": instance.path,
        "digest": instance.digest,
        "size_bytes": instance.size_bytes,
        "received_at": instance.received_at,
        "calling_ae_title": instance.calling_ae_title,
        "called_ae_title": instance.called_ae_title,
        "association_at": instance.association_at,
        "revision": None,
        "series_instance_uid": facts.series_instance_uid,
        "sop_class_uid": facts.sop_class_uid,
        "modality": facts.modality,
    }
