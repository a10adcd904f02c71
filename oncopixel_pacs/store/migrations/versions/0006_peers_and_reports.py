"""Allowed peers, what rejected callers showed, and storage commitment reports that are owed."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; who was rejected before is forgotten, and comes again if it matters."""
    op.drop_table("rejected_caller")
    op.create_table(
        "rejected_caller",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("called_ae_title", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("certificate_sha256", sa.String(), nullable=False),
        sa.Column("first_at", sa.DateTime(), nullable=False),
        sa.Column("last_at", sa.DateTime(), nullable=False),
        sa.Column("count", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint(
            "calling_ae_title", "called_ae_title", "address", "reason", "certificate_sha256"
        ),
    )
    op.create_index("ix_rejected_caller_last_at", "rejected_caller", ["last_at"], unique=False)
    op.create_table(
        "allowed_peer",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("ae_title", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=True),
        sa.Column("tls", sa.Boolean(), nullable=False),
        sa.Column("certificate_sha256", sa.JSON(), nullable=False),
        sa.Column("allowed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("ae_title", "address"),
    )
    op.create_table(
        "pending_report",
        sa.Column("calling_ae_title", sa.String(), nullable=False),
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("executor", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("instances", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("calling_ae_title", "transaction_uid"),
    )
    op.create_index("ix_pending_report_executor", "pending_report", ["executor"], unique=False)
