import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from gateway.ports import LogQuery
from gateway.stores.engine import open_engine
from gateway.stores.indexes import metadata
from gateway.stores.ledger_sql import open_ledger
from gateway.stores.migrate import upgrade
from gateway.stores.place import Access
from gateway.stores.reader import Reader
from gateway.stores.refusals import LedgerRefused, SchemaTooNew
from gateway.stores.revisions import SCRIPTS
from gateway.stores.schema import HEAD, REVISIONS, stored_revision
from gateway.stores.sqlite import create_private

ROOT = Path(__file__).parents[2]


@pytest.fixture
def engine(database: Path) -> Engine:
    create_private(database)
    return open_engine(f"sqlite:///{database}", Access.WRITE, busy_ms=5_000)


def ddl(path: Path) -> dict[str, str]:
    """Give the words of each table and index, in alphabetical order: what differs is a difference in meaning."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name <> 'alembic_version'"
        ).fetchall()
    return {name: " ".join(sorted(sql.replace(",", " ").split())) for name, sql in rows}


def test_the_migrations_make_what_the_metadata_says(engine: Engine, database: Path, tmp_path: Path) -> None:
    assert upgrade(engine)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    other = tmp_path / "metadata.db"
    metadata.create_all(open_engine(f"sqlite:///{other}", Access.WRITE, busy_ms=100))
    assert ddl(database) == ddl(other)


def test_the_known_revisions_are_the_files(engine: Engine) -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    scripts = ScriptDirectory.from_config(config)
    assert [script.revision for script in scripts.walk_revisions()][::-1] == list(REVISIONS)
    assert scripts.get_current_head() == HEAD


def test_a_second_start_has_nothing_to_do(engine: Engine) -> None:
    assert upgrade(engine)
    assert not upgrade(engine)
    with engine.connect() as connection:
        assert stored_revision(connection) == HEAD


def test_a_newer_schema_refuses_server_and_reader(engine: Engine, url: str, reader: Reader) -> None:
    upgrade(engine)
    with engine.begin() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    for _ in range(2):
        with pytest.raises(SchemaTooNew, match=f"schema 9999, this version knows up to {HEAD}"):
            open_ledger(url, serve=True)
    with pytest.raises(SchemaTooNew):
        reader.page(LogQuery())


def test_a_crash_half_way_leaves_the_database_as_it_was(engine: Engine, database: Path, url: str) -> None:
    with engine.begin() as connection:
        connection.exec_driver_sql("CREATE TABLE attempts (something TEXT)")  # stands in the way of the second table
    with pytest.raises(LedgerRefused, match="attempts already exists"):
        open_ledger(url, serve=True)
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("attempts",)]


def test_two_processes_that_start_at_once_migrate_once(database: Path, url: str) -> None:
    script = f"from gateway.stores.ledger_sql import open_ledger; open_ledger({url!r}, serve=False).close()"
    started = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT) for _ in range(2)]
    assert [process.wait(30) for process in started] == [0, 0]
    open_ledger(url, serve=True).close()


def test_reading_does_not_import_alembic() -> None:
    script = "import sys, gateway.stores.reader; sys.exit('alembic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0
