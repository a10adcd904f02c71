"""By which of our AE titles each image came."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply; of images that are here already it is not known."""
    op.add_column(
        "instance",
        sa.Column("called_ae_title", sa.String(), nullable=False, server_default=sa.text("''")),
    )
