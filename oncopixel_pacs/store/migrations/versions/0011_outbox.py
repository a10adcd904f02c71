"""Since when deliveries wait, and the circuit breaker of each destination."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; what waits already has waited since its job was made."""
    op.add_column("delivery", sa.Column("queued_at", sa.DateTime(), nullable=True))
    op.execute(
        "UPDATE delivery SET queued_at = (SELECT MIN(job.created_at) FROM job "
        "JOIN job_object ON job_object.job_id = job.id "
        "WHERE job_object.sop_instance_uid = delivery.sop_instance_uid)"
    )
    op.create_index(
        "ix_delivery_due", "delivery", ["destination", "state", "next_attempt_at"], unique=False
    )
    op.create_table(
        "circuit",
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("opened_at", sa.DateTime(), nullable=True),
        sa.Column("next_probe_at", sa.DateTime(), nullable=True),
        sa.Column("probe_job_id", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("destination"),
    )
