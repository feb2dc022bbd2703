"""The hand brakes on SQL: read again twice a second, so that what another process wrote is seen within one.

``current`` never blocks. While the database cannot be read the last known brakes hold: a brake never falls off because
a disk is full.
"""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import Connection, Engine, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.brake import Brake, BrakeState
from gateway.ports import LedgerUnavailable
from gateway.stores.commands import epoch_us, from_epoch_us
from gateway.stores.engine import open_engine
from gateway.stores.place import Access
from gateway.stores.polled import Polled
from gateway.stores.schema import brakes
from gateway.stores.statement import Row, replacing

POLL_S = 0.5
BUSY_MS = 2_000
_EPOCH_US = 0

BRAKED = replacing(brakes, ("channel", "state", "until_us", "reason", "set_us"))


class SqlBrakes:
    """Implements ``ports.Brakes``; made by ``open_brakes``, ended by ``close``."""

    def __init__(self, reading: Engine, writing: Engine, *, poll_s: float = POLL_S) -> None:
        self._writing = writing
        self._polled: Polled[Mapping[str, Brake]] = Polled("brakes", reading, _read, {}, poll_s)

    def current(self) -> Mapping[str, Brake]:
        """Give the brakes by channel, as they were read at most ``poll_s`` ago."""
        return self._polled.known

    def set(self, channel: str, brake: Brake) -> None:
        """Write one brake in a short transaction, and know it at once. Blocks. Raises ``LedgerUnavailable``."""
        set_us = _EPOCH_US if brake.set_at is None else epoch_us(brake.set_at)
        row: Row = (channel, brake.state.value, _to_us(brake.until), brake.reason, set_us)
        try:
            with self._writing.begin() as connection:
                BRAKED.one(connection, row)
        except SQLAlchemyError as error:
            raise LedgerUnavailable("the brake could not be written") from error
        self._polled.reread()

    def close(self) -> None:
        """Read no more; idempotent."""
        self._polled.close()


def open_brakes(database_url: str) -> SqlBrakes:
    """Give the brakes of a ledger that was opened (and so upgraded) before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlBrakes(
        open_engine(database_url, Access.READ, busy_ms=BUSY_MS),
        open_engine(database_url, Access.WRITE, busy_ms=BUSY_MS),
    )


def _read(connection: Connection) -> Mapping[str, Brake]:
    rows = connection.execute(select(brakes)).mappings().all()
    return {
        row["channel"]: Brake(
            state=BrakeState(row["state"]),
            until=None if row["until_us"] is None else from_epoch_us(row["until_us"]),
            reason=row["reason"],
            set_at=from_epoch_us(row["set_us"]),
        )
        for row in rows
    }


def _to_us(moment: datetime | None) -> int | None:
    return None if moment is None else epoch_us(moment)
