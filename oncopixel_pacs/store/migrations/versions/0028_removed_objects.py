"""What is to leave a bucket after a study was deleted, and when it had left."""

import sqlalchemy as sa
from alembic import op

revision = "0028"
down_revision = "0027"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; so far files went with their rows."""
    op.add_column("deletion", sa.Column("paths", sa.JSON(), nullable=True))
    op.add_column("deletion", sa.Column("removed_at", sa.DateTime(), nullable=True))
    op.execute("UPDATE deletion SET removed_at = deleted_at")
    op.create_index("ix_deletion_removed_at", "deletion", ["removed_at"])
