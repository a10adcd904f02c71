"""The score of a study beside its result, to search by it; when work began and ended, to count."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    """Add the column, and fill it from the results that are there."""
    op.add_column("job", sa.Column("probability", sa.Float(), nullable=True))
    op.create_index("ix_job_probability", "job", ["probability"])
    op.create_index("ix_job_finished", "job", ["finished_at", "state"])
    op.create_index("ix_study_first_received_at", "study", ["first_received_at"])
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "UPDATE job SET probability = CAST(result ->> 'probability' AS double precision) "
            "WHERE result IS NOT NULL"
        )
    else:
        op.execute(
            "UPDATE job SET probability = json_extract(result, '$.probability') "
            "WHERE result IS NOT NULL"
        )
