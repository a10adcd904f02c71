"""With which token a session began, so that it ends with it."""

import sqlalchemy as sa
from alembic import op

revision = "0033"
down_revision = "0032"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; of earlier ones it is not known, so who came with a token signs in again."""
    op.add_column(
        "web_session",
        sa.Column("began_with", sa.String(), nullable=False, server_default=sa.text("''")),
    )
