"""When the first backup was begun, so that one that never comes to its end is missed."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision = "0034"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("installation", sa.Column("backup_begun_at", sa.DateTime(), nullable=True))
