"""Run migrations on the connection that `store.database` hands over."""

from alembic import context

from oncopixel_pacs.store.tables import StudyRow

metadata = StudyRow.metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    # The workflow engine keeps its tables in the same database; they are not ours.
    include_name=lambda name, kind, _parents: kind != "table" or name in metadata.tables,
)
with context.begin_transaction():
    context.run_migrations()
