"""What Alembic runs: the steps, on the connection and in the transaction that ``store.migrate`` gives."""

from alembic import context

from scsipub.store.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transactional_ddl=False,  # the transaction is the caller's
)
context.run_migrations()
