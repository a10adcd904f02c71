"""What lists and monitoring need at hand: numbers beside results, sums by day, indexes."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime, timedelta

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"

_FINDINGS = {
    "sqlite": (
        "UPDATE job SET finding_count = (SELECT coalesce(sum(json_array_length(image.value, "
        "'$.findings')), 0) FROM json_each(job.result, '$.images') AS image) "
        "WHERE json_type(result, '$.images') = 'array'"
    ),
    "postgresql": (
        "UPDATE job SET finding_count = (SELECT coalesce(sum(json_array_length("
        "image -> 'findings')), 0) FROM json_array_elements(job.result -> 'images') AS image) "
        "WHERE json_typeof(result -> 'images') = 'array'"
    ),
}
_BOTH = "called IS NOT NULL AND active_called IS NOT NULL"
_SCORED = f"{_BOTH} AND score IS NOT NULL AND active_score IS NOT NULL"
_SHADOWS = f"""
INSERT INTO shadow_tally SELECT substr(CAST(read_at AS VARCHAR), 1, 10), model, version, task,
sum(CASE WHEN state = 'failed' THEN 1 ELSE 0 END),
sum(CASE WHEN called AND active_called THEN 1 ELSE 0 END),
sum(CASE WHEN called AND NOT active_called THEN 1 ELSE 0 END),
sum(CASE WHEN NOT called AND active_called THEN 1 ELSE 0 END),
sum(CASE WHEN NOT called AND NOT active_called THEN 1 ELSE 0 END),
sum(CASE WHEN {_SCORED} THEN 1 ELSE 0 END),
sum(CASE WHEN {_SCORED} THEN score ELSE 0 END),
sum(CASE WHEN {_SCORED} THEN active_score ELSE 0 END),
sum(CASE WHEN {_SCORED} THEN score * score ELSE 0 END),
sum(CASE WHEN {_SCORED} THEN active_score * active_score ELSE 0 END),
sum(CASE WHEN {_SCORED} THEN score * active_score ELSE 0 END)
FROM shadow_result WHERE state != 'running' AND read_at IS NOT NULL
GROUP BY substr(CAST(read_at AS VARCHAR), 1, 10), model, version, task
"""  # noqa: S608 - of constants alone


def upgrade() -> None:
    """Apply."""
    op.add_column("job", sa.Column("finding_count", sa.Integer(), nullable=True))
    op.execute(_FINDINGS[op.get_bind().dialect.name])
    _indexes()
    if op.get_bind().dialect.name == "postgresql":
        # What begins so is found by the order of bytes, which this collation has.
        for name in ("patient_id", "accession_number"):
            op.execute(f'ALTER TABLE study ALTER COLUMN {name} TYPE VARCHAR COLLATE "C"')
    _make_tallies()
    op.execute(_SHADOWS)
    _count_feedback()


def _indexes() -> None:
    for table, name in (
        ("job", "state"),
        ("job", "probability"),
        ("job", "study_instance_uid"),
        ("study", "state"),
        ("study", "last_received_at"),
    ):
        op.drop_index(f"ix_{table}_{name}", table_name=table)
    for index, table, columns in (
        ("ix_job_newest", "job", ["state", "created_at", "id", "probability"]),
        ("ix_job_score", "job", ["probability", "study_instance_uid", "revision"]),
        ("ix_job_revision", "job", ["study_instance_uid", "revision", "state", "probability"]),
        ("ix_study_newest", "study", ["last_received_at", "study_instance_uid", "study_date"]),
        ("ix_study_of_state", "study", ["state", "last_received_at", "study_instance_uid"]),
        ("ix_result_object_series_instance_uid", "result_object", ["series_instance_uid"]),
        ("ix_audit_record_of_kind", "audit_record", ["kind", "id"]),
    ):
        op.create_index(index, table, columns)
    for index, columns, those in (
        ("ix_delivery_unconfirmed", ["unconfirmed_at"], "unconfirmed_at IS NOT NULL"),
        ("ix_delivery_error", ["destination", "state"], "error != ''"),
    ):
        where = sa.text(those)
        op.create_index(index, "delivery", columns, sqlite_where=where, postgresql_where=where)


def _make_tallies() -> None:
    counts = ("failed", "both", "only_shadow", "only_active", "neither", "scored")
    sums = ("score", "active_score", "score_2", "active_score_2", "product")
    op.create_table(
        "shadow_tally",
        *(sa.Column(name, sa.String(), primary_key=True) for name in _SHADOW_KEY),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in counts),
        *(sa.Column(name, sa.Float(), nullable=False) for name in sums),
    )
    op.create_table(
        "feedback_tally",
        *(sa.Column(name, sa.String(), primary_key=True) for name in ("week", "model", "version")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in _VERDICTS),
    )


_SHADOW_KEY = ("day", "model", "version", "task")
_VERDICTS = ("accepted", "rejected", "divided")


def _count_feedback() -> None:
    table = sa.table(
        "feedback",
        sa.column("at", sa.DateTime()),
        *map(sa.column, ("model", "version", "tracking_uid", "opinion")),
    )
    said: dict[tuple[str, ...], set[str]] = defaultdict(set)
    for row in op.get_bind().execute(sa.select(table)):
        said[_monday(row.at), row.model, row.version, row.tracking_uid].add(row.opinion)
    counted = Counter(
        (*key[:3], "divided" if len(words) > 1 else f"{min(words)}ed")
        for key, words in said.items()
    )
    tallies = sa.table("feedback_tally", *map(sa.column, ("week", "model", "version", *_VERDICTS)))
    rows = [
        {"week": week, "model": model, "version": version}
        | {name: counted[week, model, version, name] for name in _VERDICTS}
        for week, model, version in sorted({key[:3] for key in counted})
    ]
    if rows:
        op.bulk_insert(tallies, rows)


def _monday(moment: datetime) -> str:
    return f"{moment - timedelta(days=moment.weekday()):%Y-%m-%d}"
