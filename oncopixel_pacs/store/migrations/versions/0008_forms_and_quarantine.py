"""Forms of segmentations, retracted results, whether results are written, and the quarantine."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; what was written so far is binary, and reports refer to that."""
    op.add_column("result_object", sa.Column("form", sa.String(), nullable=True))
    op.execute("UPDATE result_object SET form = 'binary' WHERE kind IN ('seg', 'sr', 'kos')")
    op.add_column(
        "delivery",
        sa.Column("retracted_by", sa.String(), nullable=False, server_default=sa.text("''")),
    )
    op.add_column(
        "job", sa.Column("written", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.execute("UPDATE job SET written = TRUE WHERE id IN (SELECT job_id FROM job_object)")
    op.create_table(
        "quarantine",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("sop_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("series_description", sa.String(), nullable=False),
        sa.Column("path", sa.String(), nullable=False),
        sa.Column("sha256", sa.String(), nullable=False),
        sa.Column("size_bytes", sa.Integer(), nullable=False),
        sa.Column("problems", sa.JSON(), nullable=False),
        sa.Column("held_at", sa.DateTime(), nullable=False),
        sa.Column("resolved_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("job_id", "sop_instance_uid", "sha256"),
    )
    with op.batch_alter_table("quarantine", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_quarantine_resolved_at"), ["resolved_at"])
