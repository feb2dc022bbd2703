"""Hand brakes: they survive, other processes see them, and a database that is gone does not lift them."""

import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from gateway.core.brake import Brake, BrakeState
from gateway.ports import LedgerUnavailable
from gateway.stores.brakes_sql import SqlBrakes, open_brakes
from gateway.stores.engine import open_engine
from gateway.stores.ledger_sql import SqlLedger
from gateway.stores.place import Access
from tests.stores.conftest import locked, spoil

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 11, 20, 9, 30, tzinfo=UTC)
OFF = Brake(state=BrakeState.OFF, until=NOW + timedelta(hours=1), reason="invoice", set_at=NOW)


@pytest.fixture
def brakes(ledger: SqlLedger, url: str) -> Iterator[SqlBrakes]:
    opened = open_brakes(url)
    yield opened
    opened.close()


def test_a_brake_is_known_at_once_and_survives_a_restart(brakes: SqlBrakes, url: str) -> None:
    assert brakes.current() == {}
    brakes.set("openai", OFF)
    assert brakes.current() == {"openai": OFF}
    again = open_brakes(url)
    assert again.current() == {"openai": OFF}
    again.set("openai", Brake(state=BrakeState.ON, set_at=NOW))
    assert again.current() == {"openai": Brake(state=BrakeState.ON, set_at=NOW)}
    again.close()


def test_what_another_process_sets_is_seen_within_a_second(brakes: SqlBrakes, url: str) -> None:
    script = (
        "from gateway.stores.brakes_sql import open_brakes\n"
        "from gateway.core.brake import Brake, BrakeState\n"
        f"brakes = open_brakes({url!r}); brakes.set('openai', Brake(state=BrakeState.DRAINED)); brakes.close()"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
    deadline = time.monotonic() + 1.0
    while not brakes.current() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert brakes.current()["openai"].state is BrakeState.DRAINED


def test_a_brake_that_cannot_be_written_says_so_and_the_old_one_holds(ledger: SqlLedger, url: str) -> None:
    reading = open_engine(url, Access.READ, busy_ms=50)
    brakes = SqlBrakes(reading, open_engine(url, Access.WRITE, busy_ms=50), poll_s=0.01)
    brakes.set("openai", OFF)
    with locked(url), pytest.raises(LedgerUnavailable):
        brakes.set("openai", Brake(state=BrakeState.ON))
    spoil(url, "DROP TABLE brakes")
    time.sleep(0.05)
    assert brakes.current() == {"openai": OFF}
    brakes.close()


@pytest.mark.parametrize(("after_h", "state"), [(0.9, BrakeState.OFF), (1.0, BrakeState.ON), (2.0, BrakeState.ON)])
def test_a_brake_ends_by_itself(after_h: float, state: BrakeState) -> None:
    assert OFF.at(NOW + timedelta(hours=after_h)) is state
    assert Brake(state=BrakeState.OFF).at(NOW) is BrakeState.OFF
