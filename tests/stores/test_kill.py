"""kill -9 at random moments: what the ledger acknowledged is there after the next start."""

import json
import subprocess
import sys
from pathlib import Path

from gateway.ports import LogQuery
from gateway.stores.ledger_sql import open_ledger
from gateway.stores.reader import LogRow, Reader
from tests.stores.rows import request_id

ROOT = Path(__file__).parents[2]
ROUNDS = 10
SEED = "20261120"


def test_nothing_acknowledged_is_lost(database: Path, url: str, reader: Reader) -> None:
    output = subprocess.run(
        [sys.executable, "-m", "tests.stores.kill_rounds", str(database), str(ROUNDS), SEED],
        cwd=ROOT,
        check=True,
        capture_output=True,
        timeout=120,
    ).stdout
    rounds: list[list[tuple[str, str]]] = [[(word, number) for word, number in told] for told in json.loads(output)]
    said = {
        word: {int(number) for told in rounds for kind, number in told if kind == word}
        for word in ("begun", "again", "settled")
    }
    assert len(said["settled"]) > ROUNDS

    last = open_ledger(url, serve=True)
    interrupted = last.recover() + sum(int(number) for told in rounds for word, number in told if word == "interrupted")
    last.close()
    rows = {row.request_id: row for row in reader.page(LogQuery(limit=10**6))}
    for number in said["begun"]:
        assert len(rows[request_id(number)].attempts) >= (2 if number in said["again"] else 1)
    for number in said["settled"]:
        assert rows[request_id(number)].state == "done"
    assert interrupted == sum(row.state == "interrupted" for row in rows.values())
    assert all(is_whole(row) for row in rows.values())


def is_whole(row: LogRow) -> bool:
    """No half of a transaction: a done request has its record and ended attempts, any other says it does not know."""
    if row.state == "done":
        return row.record is not None and {tried.state.value for tried in row.attempts} == {"ended"}
    return row.record is None and {tried.outcome for tried in row.attempts} == {"unknown"}
