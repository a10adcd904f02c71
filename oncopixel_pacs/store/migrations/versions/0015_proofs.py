"""How deliveries are confirmed, and the storage commitment requests that we sent."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; what was accepted before is not asked for."""
    op.add_column("delivery", sa.Column("proof", sa.String(), nullable=False, server_default=""))
    for name in ("confirmed_at", "unconfirmed_at", "ask_at"):
        op.add_column("delivery", sa.Column(name, sa.DateTime(), nullable=True))
    for name in ("asked", "resends"):
        op.add_column("delivery", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.create_index("ix_delivery_ask_at", "delivery", ["ask_at"], unique=False)
    op.create_table(
        "commitment",
        sa.Column("transaction_uid", sa.String(length=64), nullable=False),
        sa.Column("destination", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(), nullable=False),
        sa.Column("sop_instance_uids", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_uid"),
    )
    op.create_index("ix_commitment_requested_at", "commitment", ["requested_at"], unique=False)
