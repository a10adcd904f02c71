"""What DICOMweb searches by, in columns of its own."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

#: Column, its place in the JSON beside it, whether it is casefolded, whether it is indexed.
_STUDY = (
    ("patient_name", "patient_name", True, True),
    ("patient_id", "patient_id", False, True),
    ("accession_number", "accession_number", False, True),
    ("study_date", "study_date", False, True),
    ("study_time", "study_time", False, False),
    ("study_id", "study_id", False, False),
    ("study_description", "description", True, False),
    ("referring_physician_name", "referring_physician_name", True, False),
)
_INSTANCE = (
    ("series_instance_uid", "series_instance_uid", False, True),
    ("sop_class_uid", "sop_class_uid", False, False),
    ("modality", "modality", False, False),
)


def upgrade() -> None:
    """Apply, and fill in what the rows hold already."""
    _add("study", "study_instance_uid", "header", _STUDY)
    _add("instance", "sop_instance_uid", "facts", _INSTANCE)


def _add(
    name: str, key: str, source: str, columns: tuple[tuple[str, str, bool, bool], ...]
) -> None:
    for column, _, _, indexed in columns:
        op.add_column(
            name, sa.Column(column, sa.String(), nullable=False, server_default=sa.text("''"))
        )
        if indexed:
            op.create_index(f"ix_{name}_{column}", name, [column])
    table = sa.table(
        name,
        sa.column(key),
        sa.column(source, sa.JSON()),
        *(sa.column(column) for column, *_ in columns),
    )
    connection = op.get_bind()
    rows = connection.execute(sa.select(table.c[key], table.c[source])).all()
    for uid, values in rows:
        found = {}
        for column, place, folded, _ in columns:
            text = str(values.get(place) or "")
            found[column] = text.casefold() if folded else text
        connection.execute(table.update().where(table.c[key] == uid).values(**found))
