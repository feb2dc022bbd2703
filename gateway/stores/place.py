"""Where a ledger is: what a ``storage.database`` URL means, said without its password.

Two kinds: a SQLite file, and a PostgreSQL server that several replicas share. Nothing is opened here.
"""

from enum import StrEnum
from pathlib import Path

from msgspec import Struct
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from gateway.stores.refusals import LedgerRefused


class Access(StrEnum):
    """What a connection may do; the value is SQLite's URI mode. Only ``WRITE`` creates a file."""

    WRITE = "rwc"
    READ = "rw"  # query_only: a plain read-only handle could not set up the shared memory that WAL readers need


class Place(Struct, frozen=True, kw_only=True):
    """One database. ``file``: SQLite's, absolute; absent on a server. ``str()`` is for messages."""

    url: URL
    file: Path | None

    @property
    def is_shared(self) -> bool:
        """Whether servers on several machines may use it at the same time."""
        return self.file is None

    @property
    def is_there(self) -> bool:
        """Whether there is something to read; a server is taken to be there until it is asked."""
        return self.file is None or self.file.exists()

    def __str__(self) -> str:
        if self.file is not None:
            return str(self.file)
        host = self.url.host or self.url.query.get("host") or "localhost"
        port = "" if self.url.port is None else f":{self.url.port}"
        return f"postgresql://{host}{port}/{self.url.database or ''}"


def place(database_url: str) -> Place:
    """Say where a URL leads. Raises ``LedgerRefused`` for one that names no database a ledger can be in."""
    try:
        url = make_url(database_url)
    except ArgumentError:
        raise LedgerRefused("the database setting is not a URL like sqlite:////path/to/waybill.db") from None
    if url.drivername == "postgresql":
        return Place(url=url, file=None)
    if url.drivername != "sqlite":
        raise LedgerRefused(
            f"a {url.drivername} ledger is not something this version knows: "
            "use sqlite:////path/to/waybill.db or postgresql://user@host/name"
        )
    if url.database in {None, "", ":memory:"} or str(url.database).startswith("file:"):
        raise LedgerRefused("the ledger needs a file on disk: sqlite:////path/to/waybill.db")
    return Place(url=url, file=Path(str(url.database)).absolute())
