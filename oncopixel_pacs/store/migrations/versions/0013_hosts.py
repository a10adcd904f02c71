"""Hosts that share the database, and how often a job was taken from one."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; nobody has been heard yet."""
    op.create_table(
        "host",
        sa.Column("executor", sa.String(), nullable=False),
        sa.Column("epoch", sa.String(), nullable=False),
        sa.Column("beats", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("executor"),
    )
    op.add_column(
        "job", sa.Column("takeovers", sa.Integer(), nullable=False, server_default=sa.text("0"))
    )
