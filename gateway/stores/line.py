"""One thread's line to the database: opened when it is first used, opened anew after it was dropped."""

from contextlib import suppress

from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError, SQLAlchemyError


class Line:
    """Belongs to one thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def connection(self) -> Connection:
        """Give the connection. Raises SQLAlchemy's errors when there is none and none can be had."""
        if self._connection is None:
            self._connection = self._engine.connect()
        return self._connection

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
