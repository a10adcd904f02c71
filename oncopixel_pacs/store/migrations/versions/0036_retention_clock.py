"""What retention last took for the time, and where it stands still because a clock leapt."""

import sqlalchemy as sa
from alembic import op

revision = "0036"
down_revision = "0035"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("installation", sa.Column("retention_at", sa.DateTime(), nullable=True))
    op.add_column("installation", sa.Column("retention_leap", sa.String(), nullable=True))
    op.add_column("installation", sa.Column("retention_leap_on", sa.String(), nullable=True))
