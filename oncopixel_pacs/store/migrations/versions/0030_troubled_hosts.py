"""What a person must see to on a host that works."""

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0029"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; nobody has told of trouble yet."""
    op.add_column(
        "host", sa.Column("trouble", sa.String(), nullable=False, server_default=sa.text("''"))
    )
