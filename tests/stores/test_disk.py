"""The disk fills up; the database cannot be written. In real processes, with the limits of the operating system."""

import json
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from gateway.ports import LogQuery
from gateway.stores.ledger_sql import open_ledger
from gateway.stores.reader import Reader
from tests.stores.rows import request_id

ROOT = Path(__file__).parents[2]

# Everything is imported before the rights are dropped: the interpreter's own files may be closed to others.
READ_ONLY = """
import os, sys
from gateway.stores.ledger_sql import open_ledger
from gateway.stores.refusals import LedgerRefused
if os.geteuid() == 0:
    os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    open_ledger(sys.argv[1], serve=True)
except LedgerRefused as refused:
    print(refused)
"""


def run(*arguments: str) -> str:
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_a_full_disk_refuses_new_requests_and_loses_no_settlement(database: Path, reader: Reader) -> None:
    answer = json.loads(run("-m", "tests.stores.full_disk", str(database)))
    assert len(answer["told"]) == 4
    assert answer["told"][0].startswith("the ledger could not commit: ")
    assert answer["told"][2] == "the ledger has settlements it could not write yet"
    assert (answer["unwritten"], answer["left"]) == (2, 0)
    assert answer["faults"][0].startswith("the ledger could not commit: ")
    assert answer["faults"][1] is None
    assert {row.request_id: row.state.value for row in reader.page(LogQuery())} == {
        request_id(1): "done",
        request_id(2): "done",
        request_id(5): "open",
    }


def test_a_database_that_may_not_be_written_is_refused_at_start() -> None:
    with TemporaryDirectory() as name:  # pytest's own directories are closed to other users
        directory = Path(name)
        url = f"sqlite:///{directory}/waybill.db"
        open_ledger(url, serve=True).close()
        for path in directory.iterdir():
            path.chmod(0o444)
        directory.chmod(0o555)
        try:
            assert "cannot be opened for writing: Permission denied" in run("-c", READ_ONLY, url)
        finally:
            directory.chmod(0o755)
