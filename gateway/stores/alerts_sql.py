"""What operators were told of, on SQL: of all servers that see the same thing, one tells it.

Whoever writes the row first tells it, and so does whoever writes it again when its time is over; whoever takes it away
tells its end. Each is one conditional statement, so that no two servers do it. Times are the servers' own clocks: one
that is wrong by minutes repeats that much too early or too late. A database that does not answer is not waited for.
"""

from datetime import datetime, timedelta
from functools import partial
from typing import Final

from sqlalchemy import ClauseElement, Engine, bindparam, delete
from sqlalchemy.exc import SQLAlchemyError

from gateway.ports import LedgerUnavailable
from gateway.stores.commands import epoch_us
from gateway.stores.engine import Inserting, open_engine
from gateway.stores.place import Access
from gateway.stores.room import Room
from gateway.stores.schema import alerts
from gateway.stores.statement import Row, Statement

BUSY_MS: Final = 1_000
WAIT_S: Final = 2.0
KEPT: Final = timedelta(days=90)  # what was told longer ago is of no interest


def _telling(new: Inserting) -> ClauseElement:
    row = new(alerts).values(about=bindparam("about"), told_us=bindparam("told_us"))
    return row.on_conflict_do_update(
        index_elements=["about"],
        set_={"told_us": row.excluded.told_us},
        where=alerts.c.told_us <= bindparam("since_us"),
    )


TOLD = Statement(_telling, ("about", "told_us", "since_us"))
OVER = Statement(delete(alerts).where(alerts.c.about == bindparam("the_subject")), ("the_subject",))
FORGOTTEN = Statement(delete(alerts).where(alerts.c.told_us < bindparam("since_us")), ("since_us",))


class SqlAlerts:
    """Implements ``ports.Tellers``; made by ``open_alerts``. Every method blocks, for two seconds at most."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._room = Room("alerts", 1, "what was told could not be looked up", WAIT_S)

    def first(self, about: str, now: datetime, repeat_s: float) -> bool:
        """Whether nobody has told it for ``repeat_s``; then it counts as told. Raises ``LedgerUnavailable``."""
        now_us = epoch_us(now)
        return self._room.wait(partial(self._told, about, now_us, now_us - round(repeat_s * 1_000_000)))

    def last(self, about: str) -> bool:
        """Whether it was told and nobody has told its end; then that counts as told. Raises ``LedgerUnavailable``."""
        return self._room.wait(partial(self._run, OVER, (about,)))

    def _told(self, about: str, now_us: int, since_us: int) -> bool:
        self._run(FORGOTTEN, (now_us - KEPT // timedelta(microseconds=1),))
        return self._run(TOLD, (about, now_us, since_us))

    def _run(self, statement: Statement, row: Row) -> bool:
        try:
            with self._engine.begin() as connection:
                return bool(statement.one(connection, row))
        except SQLAlchemyError as error:
            raise LedgerUnavailable("what was told could not be written") from error


def open_alerts(database_url: str) -> SqlAlerts:
    """Give those of a ledger that was opened, and so upgraded, before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlAlerts(open_engine(database_url, Access.WRITE, busy_ms=BUSY_MS))
