"""What alembic runs around the revisions: they use the connection, and so the transaction, they are given.

Executed by alembic only; see ``gateway/stores/revisions.py``.
"""

from alembic import context

from gateway.stores.indexes import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata, transactional_ddl=True)
with context.begin_transaction():
    context.run_migrations()
