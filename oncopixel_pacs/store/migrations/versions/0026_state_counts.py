"""How many studies, jobs and deliveries are in each state, kept by the database itself."""

import sqlalchemy as sa
from alembic import op

revision = "0026"
down_revision = "0025"
branch_labels = None
depends_on = None

#: What is counted, and by what beside its state.
_COUNTED = {"study": "", "job": "", "delivery": "destination"}
#: First number of the advisory locks of the slots on PostgreSQL.
_SLOTS = 20_250_304
_NOWHERE = "''"
_ON_CONFLICT = "ON CONFLICT (kind, place, state, slot) DO UPDATE SET number ="


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "state_count",
        *(sa.Column(name, sa.String(), nullable=False) for name in ("kind", "place", "state")),
        sa.Column("slot", sa.Integer(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("kind", "place", "state", "slot"),
    )
    server = op.get_bind().dialect.name == "postgresql"
    if server:
        op.execute(_FREE_SLOT)
    for table, place in _COUNTED.items():
        # The triggers first: they keep writers out until this transaction has counted.
        for statement in _on_server(table, place) if server else _on_file(table, place):
            op.execute(statement)
        named = ", ".join(filter(None, (place, "state")))
        op.execute(
            f"INSERT INTO state_count SELECT '{table}', {place or _NOWHERE}, state, 0, count(*) "  # noqa: S608
            f"FROM {table} GROUP BY {named}"
        )


def _on_file(table: str, place: str) -> list[str]:
    """Triggers for SQLite, which has one writer at a time."""

    def count(row: str, by: int) -> str:
        named = f"{row}.{place}" if place else _NOWHERE
        return (
            f"INSERT INTO state_count VALUES ('{table}', {named}, {row}.state, 0, {by}) "  # noqa: S608
            f"{_ON_CONFLICT} number + excluded.number;"
        )

    return [
        f"CREATE TRIGGER count_{table}_{name} AFTER {event} ON {table} {when} BEGIN {body} END"
        for name, event, when, body in (
            ("insert", "INSERT", "", count("NEW", 1)),
            ("delete", "DELETE", "", count("OLD", -1)),
            (
                "update",
                "UPDATE OF state",
                "WHEN OLD.state <> NEW.state",
                count("OLD", -1) + count("NEW", 1),
            ),
        )
    ]


#: Each transaction counts in rows of its own, so that none waits for another, let alone in a
#: ring: it takes the first slot that nobody holds, until it ends.
_FREE_SLOT = f"""
CREATE FUNCTION state_count_slot() RETURNS integer LANGUAGE plpgsql AS $$
DECLARE slot integer := 0;
BEGIN
  WHILE NOT pg_try_advisory_xact_lock({_SLOTS}, slot) LOOP slot := slot + 1; END LOOP;
  RETURN slot;
END $$"""


def _on_server(table: str, place: str) -> list[str]:
    """Triggers for PostgreSQL: of rows that come and go by statement, of others row by row."""
    named = ", ".join(filter(None, (place, "state")))

    def by_statement(name: str, event: str, rows: str, sign: str) -> list[str]:
        return [
            f"""
CREATE FUNCTION count_{table}_{name}() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE mine integer := state_count_slot();
BEGIN
  INSERT INTO state_count AS kept
  SELECT '{table}', {place or _NOWHERE}, state, mine, {sign}count(*)
  FROM counted GROUP BY {named}
  {_ON_CONFLICT} kept.number + excluded.number;
  RETURN NULL;
END $$""",  # noqa: S608
            f"CREATE TRIGGER count_{table}_{name} AFTER {event} ON {table} "
            f"REFERENCING {rows} TABLE AS counted "
            f"FOR EACH STATEMENT EXECUTE FUNCTION count_{table}_{name}()",
        ]

    where = f"NEW.{place}" if place else _NOWHERE
    return [
        *by_statement("insert", "INSERT", "NEW", ""),
        *by_statement("delete", "DELETE", "OLD", "-"),
        f"""
CREATE FUNCTION count_{table}_update() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE mine integer := state_count_slot();
BEGIN
  INSERT INTO state_count AS kept
  VALUES ('{table}', {where}, OLD.state, mine, -1), ('{table}', {where}, NEW.state, mine, 1)
  {_ON_CONFLICT} kept.number + excluded.number;
  RETURN NULL;
END $$""",  # noqa: S608
        f"CREATE TRIGGER count_{table}_update AFTER UPDATE OF state ON {table} "
        "FOR EACH ROW WHEN (OLD.state IS DISTINCT FROM NEW.state) "
        f"EXECUTE FUNCTION count_{table}_update()",
    ]
