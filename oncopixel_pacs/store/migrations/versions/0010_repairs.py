"""What was repaired in the headers of a job's images."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; of earlier jobs nothing is known."""
    op.add_column("job", sa.Column("repairs", sa.JSON(), nullable=True))
