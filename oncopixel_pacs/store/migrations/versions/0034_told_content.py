"""What each call of an export told, so that it can be replaced when a job says something else."""

import sqlalchemy as sa
from alembic import op

revision = "0034"
down_revision = "0033"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; of earlier calls it is not known."""
    op.add_column(
        "webhook_call",
        sa.Column("content", sa.String(), nullable=False, server_default=sa.text("''")),
    )
    op.add_column(
        "webhook_call",
        sa.Column("statements", sa.Integer(), nullable=False, server_default=sa.text("0")),
    )
    op.create_index("ix_webhook_call_job", "webhook_call", ["webhook", "job_id"])
