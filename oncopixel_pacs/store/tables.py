"""The ledger's tables. Rows never leave `store`; everyone else speaks `domain`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Column,
    DateTime,
    Dialect,
    Index,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy.types import TypeDecorator
from sqlmodel import Field, SQLModel


class UtcDateTime(TypeDecorator[datetime]):
    """A point in time, aware and in UTC on both databases."""

    impl = DateTime
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store as naive UTC."""
        return None if value is None else value.astimezone(UTC).replace(tzinfo=None)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read back as aware UTC."""
        return None if value is None else value.replace(tzinfo=UTC)


def _moment(nullable: bool = False, index: bool = False) -> Any:
    return Field(sa_column=Column(UtcDateTime(), nullable=nullable, index=index))


def _where(condition: str) -> dict[str, Any]:
    """Arguments of an index of some rows alone."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}


def _key(index: bool = True) -> Any:
    return Field(default="", index=index, sa_column_kwargs={"server_default": text("''")})


def _count() -> Any:
    return Field(default=0, sa_column_kwargs={"server_default": text("0")})


class StudyRow(SQLModel, table=True):
    """One study. What can be searched for stands beside its header; names are casefolded.

    `unsettled_since` is the arrival of its first image that is in no revision yet;
    `completed_at` is when someone said that nothing more will come for that revision.
    """

    __tablename__ = "study"
    __table_args__ = (
        Index("ix_study_newest", "last_received_at", "study_instance_uid", "study_date"),
        Index("ix_study_of_state", "state", "last_received_at", "study_instance_uid"),
    )

    study_instance_uid: str = Field(primary_key=True, max_length=64)
    state: str
    revision: int = 0
    first_received_at: datetime = _moment(index=True)
    last_received_at: datetime = _moment()
    unsettled_since: datetime | None = _moment(nullable=True)
    completed_at: datetime | None = _moment(nullable=True)
    waiting_for: str = ""
    conflicts: int = 0
    patient_name: str = _key()
    patient_id: str = _key()
    accession_number: str = _key()
    study_date: str = _key()
    study_time: str = _key(index=False)
    study_id: str = _key(index=False)
    study_description: str = _key(index=False)
    referring_physician_name: str = _key(index=False)
    header: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class InstanceRow(SQLModel, table=True):
    """One acknowledged SOP instance; `revision` is the first that includes it."""

    __tablename__ = "instance"
    # Those that are known by SHA-256: none where nothing came before BLAKE3.
    __table_args__ = (
        Index("ix_instance_older_digest", "sop_instance_uid", **_where("length(digest) = 64")),
    )

    sop_instance_uid: str = Field(primary_key=True, max_length=64)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid", index=True)
    path: str = Field(index=True)
    digest: str
    size_bytes: int
    received_at: datetime = _moment()
    calling_ae_title: str = ""
    called_ae_title: str = _key(index=False)
    association_at: datetime | None = _moment(nullable=True)
    revision: int | None = None
    series_instance_uid: str = _key()
    sop_class_uid: str = _key(index=False)
    modality: str = _key(index=False)
    facts: dict[str, Any] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class ConflictRow(SQLModel, table=True):
    """Other content under a SOP Instance UID that we hold; kept apart, never overwritten."""

    __tablename__ = "conflict"
    __table_args__ = (UniqueConstraint("sop_instance_uid", "digest"),)

    id: int | None = Field(default=None, primary_key=True)
    sop_instance_uid: str = Field(index=True)
    study_instance_uid: str = Field(index=True)
    path: str
    digest: str
    received_at: datetime = _moment()
    calling_ae_title: str = ""


class JobRow(SQLModel, table=True):
    """The work on one study revision; `run` counts restarts by a person."""

    __tablename__ = "job"
    __table_args__ = (
        Index("ix_job_created", "created_at", "id"),
        Index("ix_job_finished", "finished_at", "state"),
        Index("ix_job_newest", "state", "created_at", "id", "probability"),
        Index("ix_job_score", "probability", "study_instance_uid", "revision"),
        Index("ix_job_revision", "study_instance_uid", "revision", "state", "probability"),
    )

    id: str = Field(primary_key=True)
    study_instance_uid: str = Field(foreign_key="study.study_instance_uid")
    revision: int
    models_digest: str
    state: str
    run: int = 1
    sop_instance_uids: list[str] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    created_at: datetime = _moment()
    finished_at: datetime | None = _moment(nullable=True)
    error: str = ""
    result: dict[str, Any] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    probability: float | None = None
    finding_count: int | None = None
    written: bool = Field(default=False, sa_column_kwargs={"server_default": false()})
    repairs: list[str] | None = Field(default=None, sa_column=Column(JSON, nullable=True))
    takeovers: int = Field(default=0, sa_column_kwargs={"server_default": text("0")})


class StepRow(SQLModel, table=True):
    """One step of a job."""

    __tablename__ = "step"

    job_id: str = Field(primary_key=True, foreign_key="job.id")
    name: str = Field(primary_key=True)
    state: str
    attempts: int = 0
    started_at: datetime = _moment()
    finished_at: datetime | None = _moment(nullable=True)
    error: str = ""
    detail: dict[str, float] = Field(default_factory=dict, sa_column=Column(JSON, nullable=False))


class ObjectRow(SQLModel, table=True):
    """One stored result object."""

    __tablename__ = "result_object"

    sop_instance_uid: str = Field(primary_key=True, max_length=64)
    kind: str
    sop_class_uid: str
    series_instance_uid: str = Field(index=True)
    series_description: str
    path: str
    sha256: str
    size_bytes: int
    form: str | None = None


class JobObjectRow(SQLModel, table=True):
    """Which result objects belong to a job; a later revision reuses unchanged ones.

    `position` is that in the order of writing, less than 0 where a later reading of the job's
    images took its place.
    """

    __tablename__ = "job_object"

    job_id: str = Field(primary_key=True, foreign_key="job.id")
    sop_instance_uid: str = Field(
        primary_key=True, foreign_key="result_object.sop_instance_uid", index=True
    )
    position: int = 0


class DeliveryRow(SQLModel, table=True):
    """One result object on its way to one destination; see `outbox` for who has it.

    `ask_at` is when the destination is asked next whether it has what it accepted, `asked` how
    often it was, `unconfirmed_at` since when that stands as an alarm.
    """

    __tablename__ = "delivery"
    __table_args__ = (
        Index("ix_delivery_due", "destination", "state", "next_attempt_at"),
        Index("ix_delivery_object", "sop_instance_uid"),
        Index(
            "ix_delivery_unconfirmed",
            "unconfirmed_at",
            **_where("unconfirmed_at IS NOT NULL"),
        ),
        Index(
            "ix_delivery_error",
            "destination",
            "state",
            **_where("error != ''"),
        ),
    )

    destination: str = Field(primary_key=True)
    sop_instance_uid: str = Field(primary_key=True, foreign_key="result_object.sop_instance_uid")
    state: str = Field(index=True)
    queued_at: datetime | None = _moment(nullable=True)
    attempts: int = 0
    status: str = ""
    error: str = ""
    next_attempt_at: datetime | None = _moment(nullable=True)
    finished_at: datetime | None = _moment(nullable=True)
    retracted_by: str = _key(index=False)
    proof: str = _key(index=False)
    confirmed_at: datetime | None = _moment(nullable=True)
    unconfirmed_at: datetime | None = _moment(nullable=True)
    ask_at: datetime | None = _moment(nullable=True, index=True)
    asked: int = _count()
    resends: int = _count()


class CircuitRow(SQLModel, table=True):
    """The circuit breaker of one destination; `probe_job_id` is the job that may try it."""

    __tablename__ = "circuit"

    destination: str = Field(primary_key=True)
    failures: int = 0
    opened_at: datetime | None = _moment(nullable=True)
    next_probe_at: datetime | None = _moment(nullable=True)
    probe_job_id: str = ""
    reason: str = ""


class CommitmentRow(SQLModel, table=True):
    """A storage commitment request that we sent, by which its report is known."""

    __tablename__ = "commitment"

    transaction_uid: str = Field(primary_key=True, max_length=64)
    destination: str
    requested_at: datetime = _moment(index=True)
    sop_instance_uids: list[str] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )


class QuarantineRow(SQLModel, table=True):
    """One result object that did not pass the gate, or whose set did not."""

    __tablename__ = "quarantine"
    __table_args__ = (UniqueConstraint("job_id", "sop_instance_uid", "sha256"),)

    id: int | None = Field(default=None, primary_key=True)
    job_id: str = Field(foreign_key="job.id")
    kind: str
    sop_instance_uid: str = Field(max_length=64)
    series_description: str
    path: str
    sha256: str
    size_bytes: int
    problems: list[str] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    held_at: datetime = _moment()
    resolved_at: datetime | None = _moment(nullable=True, index=True)


class AssociationLeaseRow(SQLModel, table=True):
    """Until when a caller counts as having an association open at one listener."""

    __tablename__ = "association_lease"

    listener: str = Field(primary_key=True)
    calling_ae_title: str = Field(primary_key=True)
    open_until: datetime = _moment(index=True)


class PullRow(SQLModel, table=True):
    """One request to fetch one study; whoever works on it has it until `claimed_until`."""

    __tablename__ = "pull"
    __table_args__ = (Index("ix_pull_created", "created_at", "id"),)

    id: str = Field(primary_key=True)
    study_instance_uid: str = Field(index=True, max_length=64)
    source: str
    state: str = Field(index=True)
    created_at: datetime = _moment()
    expected: int | None = None
    received: int = 0
    attempts: int = 0
    error: str = ""
    next_attempt_at: datetime | None = _moment(nullable=True)
    finished_at: datetime | None = _moment(nullable=True)
    claimed_by: str = ""
    claimed_until: datetime | None = _moment(nullable=True)


class RejectedCallerRow(SQLModel, table=True):
    """Association requests that were rejected, by caller and reason."""

    __tablename__ = "rejected_caller"
    __table_args__ = (
        UniqueConstraint(
            "calling_ae_title", "called_ae_title", "address", "reason", "certificate_sha256"
        ),
    )

    id: int | None = Field(default=None, primary_key=True)
    calling_ae_title: str
    called_ae_title: str
    address: str
    reason: str
    kind: str
    certificate_sha256: str = ""
    first_at: datetime = _moment()
    last_at: datetime = _moment(index=True)
    count: int = 1


class AllowedPeerRow(SQLModel, table=True):
    """A sender that a person allowed; an empty address stands for any."""

    __tablename__ = "allowed_peer"
    __table_args__ = (UniqueConstraint("ae_title", "address"),)

    id: int | None = Field(default=None, primary_key=True)
    ae_title: str
    address: str = ""
    port: int | None = None
    tls: bool = False
    certificate_sha256: list[str] = Field(
        default_factory=list, sa_column=Column(JSON, nullable=False)
    )
    allowed_at: datetime = _moment()


class PendingReportRow(SQLModel, table=True):
    """A storage commitment report that is owed; `executor` is the host that took the request."""

    __tablename__ = "pending_report"

    calling_ae_title: str = Field(primary_key=True)
    transaction_uid: str = Field(primary_key=True, max_length=64)
    executor: str = Field(index=True)
    address: str
    requested_at: datetime = _moment()
    instances: list[list[str]] = Field(
        default_factory=list, sa_column=Column("instances", JSON, nullable=False)
    )


class DeletionRow(SQLModel, table=True):
    """One study that was deleted by policy: what it was, never whose."""

    __tablename__ = "deletion"

    id: int | None = Field(default=None, primary_key=True)
    study_instance_uid: str = Field(index=True, max_length=64)
    revision: int
    images: int
    results: int
    size_bytes: int = Field(sa_type=BigInteger)
    deleted_at: datetime = _moment(index=True)
    policy: str
    objects: list[list[str]] = Field(default_factory=list, sa_column=Column(JSON, nullable=False))
    paths: list[str] | None = Field(default=None, sa_column=Column(JSON))
    removed_at: datetime | None = _moment(nullable=True, index=True)
