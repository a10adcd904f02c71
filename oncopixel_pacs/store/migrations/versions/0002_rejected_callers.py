"""Rejected callers."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "rejected_caller",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("called_ae_title", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("first_at", sa.DateTime(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("calling_ae_title", "called_ae_title", "address", "reason"),
    )
    with op.batch_alter_table("rejected_caller", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_rejected_caller_last_at"), ["last_at"], unique=False)
