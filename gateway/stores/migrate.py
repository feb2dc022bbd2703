"""Brings a ledger's schema up to this version: forward only, in one transaction that holds the write lock.

The normal start reads one row and stops there. What runs the revisions (``stores/revisions.py``) is imported by its
name when there is something to do: alembic takes a tenth of a second to import, and nearly every start would pay it
for nothing. Two processes that start at once cannot both migrate (SQLite's write lock, an advisory lock on a server),
and a crash half way leaves the old schema whole.
"""

from importlib import import_module

from sqlalchemy import Engine

from gateway.stores.engine import only_one
from gateway.stores.schema import HEAD, refuse_newer, stored_revision

RUNNER = "gateway.stores.revisions"


def upgrade(engine: Engine) -> bool:
    """Upgrade to ``HEAD``; whether anything was done. Raises ``SchemaTooNew``, and SQLAlchemy's errors."""
    with engine.connect() as connection:
        revision = stored_revision(connection)
    refuse_newer(revision)
    if revision == HEAD:
        return False
    runner = import_module(RUNNER)
    with engine.begin() as connection:
        only_one(connection)
        refuse_newer(stored_revision(connection))  # another process may have been faster
        runner.run(connection)
    return True
