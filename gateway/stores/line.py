"""One thread's line to the database: opened when it is first used, opened anew after it was dropped.

When one thread finds its connection broken those of the others are most likely broken too, and would be found so one
request after the other; so all lines of a ``Trunk`` are opened anew then.
"""

from contextlib import suppress

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError


class Trunk:
    """What the lines to one database have in common. ``broken`` counts how often one of them broke."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.broken = 0


class Line:
    """Belongs to one thread."""

    def __init__(self, trunk: Trunk) -> None:
        self._trunk = trunk
        self._opened_at = trunk.broken
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        """Give the connection. Raises SQLAlchemy's errors when there is none and none can be had."""
        if self._opened_at != self._trunk.broken:
            self.drop()
        if self._connection is None:
            self._opened_at = self._trunk.broken
            self._connection = self._trunk.engine.connect()
        return self._connection

    def cut(self) -> None:
        """Forget the connection, which broke; the other lines forget theirs when they are next used."""
        self.drop()
        self._trunk.broken += 1

    def drop(self) -> None:
        """Forget the connection: no state of what it was doing survives."""
        gone, self._connection = self._connection, None
        if gone is not None:
            with suppress(SQLAlchemyError):
                gone.invalidate()
            with suppress(SQLAlchemyError):
                gone.close()


def is_cut(error: SQLAlchemyError) -> bool:
    """Whether the connection broke in the middle: what was being committed may have been, or not."""
    return isinstance(error, DBAPIError) and error.connection_invalidated
