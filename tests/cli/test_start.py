"""What a command imports: only what it needs, so that it starts at once."""

import subprocess
import sys
from pathlib import Path

import pytest

from gateway.stores.ledger_sql import open_ledger
from tests.cli.program import Program

LISTING = """
import sys
from gateway.cli import main
sys.argv = ["waybill", *sys.argv[1:]]
try:
    main()
except SystemExit:
    pass
print("\\n".join(sys.modules), file=sys.stderr)
"""


def modules(bare: Program, *arguments: str) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *arguments],
        cwd=bare.directory,
        env=bare.environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(done.stderr.splitlines())


@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (
            ("--version",),
            {"gateway.upstream.connection", "sqlalchemy", "alembic", "uvicorn", "httpx2", "pydantic", "gateway.main"},
        ),
        (
            ("health", "--url", "http://127.0.0.1:9"),
            {"gateway.upstream.connection", "sqlalchemy", "alembic", "uvicorn", "rich", "gateway.main"},
        ),
        (("schema",), {"gateway.upstream.connection", "sqlalchemy", "alembic", "uvicorn", "httpx2", "gateway.main"}),
        (("check",), {"gateway.upstream.connection", "sqlalchemy", "alembic", "uvicorn", "httpx2", "gateway.main"}),
    ],
    ids=lambda words: words[0] if isinstance(words, tuple) else "",
)
def test_a_command_imports_what_it_needs(bare: Program, arguments: tuple[str, ...], unwanted: set[str]) -> None:
    assert modules(bare, *arguments) & unwanted == set()


# What a server of another kind needs, what only draws tables, what only runs at an upgrade.
NOT_FOR_SQLITE = {
    "alembic", "mako", "psycopg", "redis", "obstore", "sqlalchemy.dialects.postgresql", "sqlalchemy.dialects.mysql",
    "httpx2", "rich", "rich.console", "pygments", "aiohttp", "gateway.stores.indexes",
    "gateway.stores.assets_object", "gateway.stores.revisions", "gateway.cli.terminal",
}  # fmt: skip


def test_a_server_on_sqlite_imports_nothing_that_others_need(bare: Program) -> None:
    data = bare.directory / "data"
    open_ledger(f"sqlite:///{data / 'waybill.db'}", serve=True).close()
    with subprocess.Popen(
        [sys.executable, "-c", LISTING, "serve", "--port", "0", "--data-dir", str(data), "--grace", "1s"],
        cwd=bare.directory, env=bare.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert "server.ready" in process.stdout.readline()
        process.terminate()
        _, listed = process.communicate(timeout=60)
    loaded = set(listed.splitlines())
    assert "gateway.main" in loaded
    assert loaded & NOT_FOR_SQLITE == set()


@pytest.mark.parametrize(("client", "told"), [("obstore", ""), ("json", "taken down")])
def test_a_process_with_threads_of_an_object_store_ends_at_once(client: str, told: str) -> None:
    """Else one of them, at the wrong moment, would turn the exit code into a signal."""
    ending = f"import atexit, sys, {client}; from gateway.cli import main; atexit.register(print, 'taken down')"
    done = subprocess.run(
        [sys.executable, "-c", f"{ending}; sys.argv = ['waybill', '--version']; main()"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.splitlines()[1:] == ([told] if told else [])
    assert done.stdout.startswith("waybill ")


def test_a_ledger_that_is_up_to_date_is_opened_without_alembic(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/waybill.db"
    open_ledger(url, serve=True).close()
    opening = f"import sys; from gateway.stores.ledger_sql import open_ledger as o; o({url!r}, serve=True).close()"
    done = subprocess.run(
        [sys.executable, "-c", f"{opening}; print('alembic' in sys.modules)"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout.strip() == "False"
