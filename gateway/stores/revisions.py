"""Runs the revisions below ``migrations/versions``; imported by ``migrate`` when there are any to run."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection

SCRIPTS = Path(__file__).parent / "migrations"


def run(connection: Connection) -> None:
    """Bring the schema to its head inside the connection's transaction. Raises SQLAlchemy's errors."""
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    command.upgrade(config, "head")
