"""The books of a gateway, read and held against themselves: journal, balances, holds, attempts and requests."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, Table, select

from gateway.core.ledger import CREDITS
from gateway.stores.engine import open_engine
from gateway.stores.place import Access
from gateway.stores.schema import attempts, entries, holds, keys, requests

Row = Mapping[str, object]
Place = tuple[str, str, str]  # key, unit, kind


def number(value: object) -> int:
    """Give a column's number; nothing is 0."""
    assert value is None or isinstance(value, int)
    return value or 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Books:
    """Every row that is about money."""

    keys: tuple[Row, ...]
    entries: tuple[Row, ...]
    holds: tuple[Row, ...]
    requests: tuple[Row, ...]
    attempts: tuple[Row, ...]

    def sums(self) -> Counter[Place]:
        """Add the journal up."""
        found: Counter[Place] = Counter()
        for entry in self.entries:
            found[str(entry["key_id"]), str(entry["unit"]), str(entry["kind"])] += number(entry["amount"])
        return found

    def captured(self, unit: str) -> int:
        """Give what was captured of all keys."""
        return sum(amount for (_, of, kind), amount in self.sums().items() if (of, kind) == (unit, "capture"))

    def sent(self) -> list[Row]:
        """Give the attempts that may have reached an upstream."""
        return [one for one in self.attempts if one["outcome"] != "not_sent"]

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing is under way."""
        return not self.holds and all(one["state"] != "open" for one in self.requests)

    def check_at_rest(self) -> None:
        """Hold journal against balances when nothing is under way: nothing is held, lost, made, or charged twice."""
        assert self.holds == ()
        assert {one["state"] for one in self.requests} <= {"done", "interrupted"}
        assert {one["state"] for one in self.attempts} <= {"ended", "interrupted"}
        sums = self.sums()
        for key in self.keys:
            name = str(key["key_id"])
            assert number(key["credits"]) >= 0
            assert (key["credits_held"], key["held_micro"]) == (0, 0)
            granted, held, captured, voided = (
                sums[name, CREDITS, kind] for kind in ("grant", "hold", "capture", "void")
            )
            assert held == captured + voided
            assert number(key["credits"]) == granted - captured
            assert key["spent_micro"] == sums[name, "USD", "capture"]
            assert sums[name, "USD", "void"] <= sums[name, "USD", "hold"]
        twice = Counter((one["request_id"], one["unit"]) for one in self.entries if one["kind"] == "capture")
        assert set(twice.values()) <= {1}


def read_books(database_url: str) -> Books:
    """Read all of it in one transaction."""
    engine = open_engine(database_url, Access.READ, busy_ms=5_000)
    try:
        with engine.connect() as connection:
            return Books(
                keys=_rows(connection, keys),
                entries=_rows(connection, entries),
                holds=_rows(connection, holds),
                requests=_rows(connection, requests),
                attempts=_rows(connection, attempts),
            )
    finally:
        engine.dispose()


def _rows(connection: Connection, table: Table) -> tuple[Row, ...]:
    return tuple(dict(row) for row in connection.execute(select(table)).mappings())
