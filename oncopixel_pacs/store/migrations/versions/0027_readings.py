"""What was read, in a narrow table for monitoring; deliveries are found by their object."""

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None

_NAME = (
    "coalesce(nullif(facts ->> 'laterality', ''), '?') || ' ' || "
    "coalesce(nullif(facts ->> 'view', ''), '?')"
)
_JOINED = {
    "sqlite": f"group_concat({_NAME}, char(10))",
    "postgresql": f"string_agg({_NAME}, chr(10))",
}


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "reading",
        sa.Column("job_id", sa.String(), nullable=False),
        sa.Column("study_instance_uid", sa.String(length=64), nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.Column("models_digest", sa.String(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("probability", sa.Float(), nullable=False),
        sa.Column("sender", sa.String(), nullable=False),
        sa.Column("views", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["job.id"]),
        sa.PrimaryKeyConstraint("job_id"),
    )
    op.execute(
        "INSERT INTO reading SELECT id, study_instance_uid, revision, models_digest, created_at, "  # noqa: S608
        "probability, coalesce((SELECT max(calling_ae_title) FROM instance AS image "
        "WHERE image.study_instance_uid = job.study_instance_uid), ''), "
        f"coalesce((SELECT {_JOINED[op.get_bind().dialect.name]} FROM instance AS image "
        "WHERE image.study_instance_uid = job.study_instance_uid), '') "
        "FROM job WHERE probability IS NOT NULL"
    )
    op.create_index("ix_reading_created_at", "reading", ["created_at"])
    # The key begins with the destination, which whoever looks for an object does not know.
    op.create_index("ix_delivery_object", "delivery", ["sop_instance_uid"])
    if op.get_bind().dialect.name == "postgresql":
        # Until it is told, the server takes a new table for a small one.
        op.execute("ANALYZE reading")
