"""When the last backup was made."""

import sqlalchemy as sa
from alembic import op

revision = "0032"
down_revision = "0031"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; nobody knows of earlier ones."""
    op.add_column("installation", sa.Column("backed_up_at", sa.DateTime(), nullable=True))
