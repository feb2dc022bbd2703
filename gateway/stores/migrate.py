"""Brings a ledger's schema up to this version: forward only, in one transaction that holds the write lock.

The normal start reads one row and stops there; alembic's environment runs only when there is something to do, so two
processes that start at once cannot both migrate, and a crash half way leaves the old schema whole.
"""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Engine

from gateway.stores.schema import HEAD, refuse_newer, stored_revision

SCRIPTS = Path(__file__).parent / "migrations"


def upgrade(engine: Engine) -> bool:
    """Upgrade to ``HEAD``; whether anything was done. Raises ``SchemaTooNew``, and SQLAlchemy's errors."""
    with engine.connect() as connection:
        revision = stored_revision(connection)
    refuse_newer(revision)
    if revision == HEAD:
        return False
    with engine.begin() as connection:
        refuse_newer(stored_revision(connection))  # another process may have been faster
        config = Config(attributes={"connection": connection})
        config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
        command.upgrade(config, "head")
    return True
