"""Received objects are known by digests of more than one algorithm."""

import sqlalchemy as sa
from alembic import op

revision = "0029"
down_revision = "0028"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; what stands there stays, and names no algorithm: it is SHA-256."""
    for table in ("instance", "conflict"):
        op.execute(f"ALTER TABLE {table} RENAME COLUMN sha256 TO digest")
    older = sa.text("length(digest) = 64")
    op.create_index(
        "ix_instance_older_digest",
        "instance",
        ["sop_instance_uid"],
        sqlite_where=older,
        postgresql_where=older,
    )
