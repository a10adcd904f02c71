"""What the database keeps beside its rows says at every moment what the rows themselves say."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import sqlalchemy as sa
from api_builders import EVERYTHING, analyse, answer, queue, receive, write
from builders import later
from conftest import Store
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from oncopixel_pacs.domain import DeliveryState, JobState, StudyState
from oncopixel_pacs.store.database import open_database
from oncopixel_pacs.store.history import History
from oncopixel_pacs.store.outbox import Outbox
from oncopixel_pacs.store.retention import Retention

ENDINGS = [JobState.DONE, JobState.FAILED, JobState.CANCELLED, JobState.NOT_ANALYSED]
#: Each is tried on the study whose turn it is; one that does not fit there is refused.
DEEDS = ("receive", "queue", "analyse", "write", "answer", "refuse", "confirm", "again", "anew")
DEEDS += ("end", "delete", "undone")


def counted(store: Store) -> list[tuple[object, ...]]:
    """Count every row, by table, place and state."""
    statement = " UNION ALL ".join(
        f"SELECT '{table}', {place}, state, count(*) FROM {table} GROUP BY {by}"  # noqa: S608
        for table, place, by in (
            ("study", "''", "state"),
            ("job", "''", "state"),
            ("delivery", "destination", "destination, state"),
        )
    )
    with store.database.engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(sa.text(statement)))


def told(store: Store) -> list[tuple[object, ...]]:
    """Say the same from what is kept."""
    studies, jobs = store.catalogue.counts(), store.ledger.counts()
    deliveries = Outbox(store.database).counts()
    return sorted(
        [
            *(("study", "", state.value, number) for state, number in studies.items()),
            *(("job", "", state.value, number) for state, number in jobs.items()),
            *(
                ("delivery", place, state.value, number)
                for place, states in deliveries.items()
                for state, number in states.items()
            ),
        ]
    )


@dataclass
class Ward:
    """Three studies to which things happen in any order."""

    store: Store
    name: str
    jobs: dict[str, str] = field(default_factory=dict)
    received: dict[str, int] = field(default_factory=dict)

    def do(self, deed: str, number: int) -> None:
        study = f"1.2.{self.name}.{number}"
        if study not in self.received or deed == "receive":
            self.received[study] = self.received.get(study, 0) + 1
            receive(self.store, self.received[study], study=study)
        elif deed == "queue":
            if self.store.catalogue.study(study).state is StudyState.RECEIVING:
                job = f"{self.name}-{number}-{self.received[study]}"
                queue(self.store, job, study=study)
                self.jobs[study] = job
        elif deed == "undone":
            self._undone(study)
        elif study in self.jobs:
            self._work(deed, study, self.jobs[study])

    def _work(self, deed: str, study: str, job: str) -> None:
        ledger = self.store.ledger
        if deed == "analyse":
            analyse(self.store, job)
        elif deed == "write":
            write(self.store, job, {"pacs": EVERYTHING["pacs"], "archive": EVERYTHING["pacs"]})
        elif deed in ("answer", "refuse"):
            state = DeliveryState.ACCEPTED if deed == "answer" else DeliveryState.FAILED
            if ledger.job(job).deliveries:
                answer(self.store, state, job)
        elif deed in ("again", "anew"):
            ledger.restart(job, lambda *_: None, anew=deed == "anew", resend=["pacs"])
        elif deed == "end":
            ledger.finish(job, ENDINGS[len(study) % len(ENDINGS)], later(70))
        elif deed == "confirm":
            self._change("UPDATE delivery SET state = 'confirmed' WHERE state = 'accepted'")
        elif deed == "delete":
            self._delete(study)

    def _delete(self, study: str) -> None:
        self._change("UPDATE job SET state = 'done', finished_at = created_at")
        self._change("UPDATE delivery SET state = 'confirmed'")
        retention = Retention(self.store.database, self.store.files)
        for item in retention.expired(later(10_000)):
            if item.study_instance_uid == study:
                assert retention.delete(item, later(10_000), later(10_001), "days=1")
                del self.jobs[study], self.received[study]

    def _undone(self, study: str) -> None:
        """Change everything, and think better of it."""
        with self.store.database.engine.connect() as connection:
            connection.execute(sa.text("UPDATE study SET state = 'elsewhere'"))
            connection.execute(sa.text("DELETE FROM delivery"))
            connection.rollback()

    def _change(self, statement: str) -> None:
        with self.store.database.engine.begin() as connection:
            connection.execute(sa.text(statement))


NAMES = iter(range(1, 1_000_000))


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    deeds=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(1, 3)), min_size=15, max_size=40)
)
def test_the_counts_are_those_of_the_rows_whatever_happens(
    any_store: Store, deeds: list[tuple[str, int]]
) -> None:
    ward = Ward(any_store, str(next(NAMES)))
    for deed, number in deeds:
        ward.do(deed, number)
        assert told(any_store) == counted(any_store), (deed, number)
        assert readings(any_store) == scored(any_store), (deed, number)


def readings(store: Store) -> list[tuple[object, ...]]:
    """Say what is kept for the monitoring of the models."""
    return select(store, "SELECT job_id, revision, created_at, probability FROM reading")


def scored(store: Store) -> list[tuple[object, ...]]:
    """Say the same from the jobs."""
    return select(
        store,
        "SELECT id, revision, created_at, probability FROM job WHERE probability IS NOT NULL",
    )


def select(store: Store, statement: str) -> list[tuple[object, ...]]:
    with store.database.engine.connect() as connection:
        return sorted(tuple(row) for row in connection.execute(sa.text(statement)))


def test_transactions_that_count_at_once_never_wait_for_each_other(
    any_store: Store,
) -> None:
    if any_store.database.engine.dialect.name == "sqlite":
        pytest.skip("SQLite has one writer at a time")
    for study in ("1.2.1", "1.2.2"):
        receive(any_store, study=study)
        queue(any_store, study.replace(".", "-"), study=study)
    change = "UPDATE {} SET state = 'cancelled' WHERE study_instance_uid = :uid"
    study, job = sa.text(change.format("study")), sa.text(change.format("job"))
    engine = any_store.database.engine
    with engine.begin() as one, engine.begin() as other:
        for connection in (one, other):
            connection.execute(sa.text("SET LOCAL lock_timeout = '5s'"))
        # In opposite orders: rows in common would be a ring.
        one.execute(study, {"uid": "1.2.1"})
        other.execute(job, {"uid": "1.2.2"})
        one.execute(job, {"uid": "1.2.1"})
        other.execute(study, {"uid": "1.2.2"})
    counts = "SELECT kind, place, state, sum(number) FROM state_count GROUP BY 1, 2, 3"
    assert select(any_store, f"{counts} HAVING sum(number) <> 0") == counted(any_store)
    assert any_store.ledger.counts() == {JobState.CANCELLED: 2}


def test_the_migrations_count_what_is_there(any_store: Store) -> None:
    for number in range(3):
        receive(any_store, 2, study=f"1.2.{number}")
    queue(any_store, "first", study="1.2.1")
    queue(any_store, "second", study="1.2.2")
    for job in ("first", "second"):
        analyse(any_store, job)
    write(any_store, "second")
    engine, before = any_store.database.engine, told(any_store)
    history = History(any_store.database).studies(9)
    assert before
    assert [item.views for item in history] == [("L CC", "R CC")] * 2
    forget(any_store)
    open_database(engine.url.render_as_string(hide_password=False)).close()
    assert told(any_store) == before == counted(any_store)
    again = History(any_store.database).studies(9)
    assert [replace(item, views=tuple(sorted(item.views))) for item in again] == list(history)
    receive(any_store, study="1.2.9")
    assert told(any_store) == counted(any_store)


def forget(store: Store) -> None:
    """Bring a database back to before anything was counted."""
    engine = store.database.engine
    with engine.begin() as connection:
        if engine.dialect.name == "sqlite":
            named = "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'count_%'"
            drop = "DROP TRIGGER {}"
        else:
            named = "SELECT proname FROM pg_proc WHERE proname SIMILAR TO '(count|state_count)_%' "
            named += "AND pronamespace = 'public'::regnamespace"
            drop = "DROP FUNCTION {} CASCADE"
        for (name,) in connection.execute(sa.text(named)).all():
            connection.execute(sa.text(drop.format(name)))
        for table in ("state_count", "reading"):
            connection.execute(sa.text(f"DROP TABLE {table}"))
        # And what came after it.
        connection.execute(sa.text("DROP INDEX ix_webhook_call_job"))
        for column in ("content", "statements"):
            connection.execute(sa.text(f"ALTER TABLE webhook_call DROP COLUMN {column}"))
        connection.execute(sa.text("ALTER TABLE web_session DROP COLUMN began_with"))
        connection.execute(sa.text("DROP TABLE installation"))
        connection.execute(sa.text("ALTER TABLE host DROP COLUMN trouble"))
        connection.execute(sa.text("DROP INDEX ix_instance_older_digest"))
        for table in ("instance", "conflict"):
            connection.execute(sa.text(f"ALTER TABLE {table} RENAME COLUMN digest TO sha256"))
        connection.execute(sa.text("DROP INDEX ix_deletion_removed_at"))
        for column in ("paths", "removed_at"):
            connection.execute(sa.text(f"ALTER TABLE deletion DROP COLUMN {column}"))
        connection.execute(sa.text("DROP INDEX ix_delivery_object"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0025'"))
