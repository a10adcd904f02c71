"""Who has an association open."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "association_lease",
        sa.Column("listener", sa.String(), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("open_until", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("listener", "calling_ae_title"),
    )
    with op.batch_alter_table("association_lease", schema=None) as batch_op:
        batch_op.create_index(
            batch_op.f("ix_association_lease_open_until"), ["open_until"], unique=False
        )
