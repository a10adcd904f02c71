"""When the association of an image began, and which ends of jobs the collector was told of."""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; of images that are here already it is not known."""
    op.add_column("instance", sa.Column("association_at", sa.DateTime(), nullable=True))
    op.create_table(
        "trace_reader",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("read_until", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "trace",
        sa.Column("job_id", sa.String(length=64), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=False),
        sa.Column("told", sa.Boolean(), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("job_id", "finished_at"),
    )
    op.create_index("ix_trace_due", "trace", ["due_at"])
