"""What addresses of pictures are signed with: keys in the database, so that all replicas have the same.

A key that is made begins to sign ``NOTICE`` later, when every server has read it; what older keys signed stays good
until those are dropped. The first server of a ledger makes the first key. Reads are short; nothing here waits.
"""

import secrets
import threading
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, bindparam, delete, select
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.signing import KEY_BYTES, Signer
from gateway.ports import LedgerUnavailable
from gateway.stores.asset_rows import to_us
from gateway.stores.engine import only_one, open_engine
from gateway.stores.place import Access
from gateway.stores.schema import signing_keys
from gateway.stores.statement import Statement, adding

NOTICE: Final = timedelta(minutes=2)
REREAD: Final = timedelta(seconds=30)
BUSY_MS: Final = 5_000
MOST: Final = 8  # the work on a token grows with them

_MADE: Final = adding(signing_keys, ("created_us", "secret"))
_DROPPED: Final = Statement(delete(signing_keys).where(signing_keys.c.created_us < bindparam("before")), ("before",))


class SigningKeys:
    """Gives the signer of this moment; made by ``open_signing_keys``. Safe to use from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock = threading.Lock()
        self._read_at = datetime.min.replace(tzinfo=UTC)
        self._signer: Signer | None = None

    def signer(self) -> Signer:
        """Give the signer, at once. Raises ``LedgerUnavailable`` when no key was ever read."""
        if self._signer is None:
            raise LedgerUnavailable("the signing keys cannot be read")
        return self._signer

    def reread(self) -> None:
        """Read the keys again, and make the first one; the last known stay while they cannot be read. Blocks."""
        now = datetime.now(UTC)
        try:
            with self._engine.begin() as connection:
                keys = _keys(connection) or _first(connection, now)
        except SQLAlchemyError:
            return
        with self._lock:
            self._signer = _signer(keys, now)

    def rotate(self, *, drop: bool = False) -> int:
        """Make a new key; with ``drop`` it signs at once and all older ones end, and with them every address given.

        Gives how many keys there are. Blocks. Raises ``LedgerUnavailable``.
        """
        now_us = to_us(datetime.now(UTC))
        try:
            with self._engine.begin() as connection:
                only_one(connection)
                _MADE.one(connection, (now_us, secrets.token_hex(KEY_BYTES)))
                keys = _keys(connection)
                oldest = now_us if drop else keys[:MOST][-1][0]
                _DROPPED.one(connection, (oldest,))
                return len(_keys(connection))
        except SQLAlchemyError as error:
            raise LedgerUnavailable("the signing keys cannot be written") from error

    def close(self) -> None:
        """Close what is connected."""
        self._engine.dispose()


def open_signing_keys(database_url: str) -> SigningKeys:
    """Give the keys of a ledger that was opened (and so upgraded) before. Raises ``LedgerRefused`` for a bad URL."""
    return SigningKeys(open_engine(database_url, Access.WRITE, busy_ms=BUSY_MS))


def _keys(connection: Connection) -> Sequence[tuple[int, str]]:
    """Give the keys, newest first."""
    statement = select(signing_keys.c.created_us, signing_keys.c.secret).order_by(signing_keys.c.created_us.desc())
    return [(created_us, secret) for created_us, secret in connection.execute(statement)]


def _first(connection: Connection, now: datetime) -> Sequence[tuple[int, str]]:
    only_one(connection)
    if not _keys(connection):  # another server may have been faster
        _MADE.one(connection, (to_us(now), secrets.token_hex(KEY_BYTES)))
    return _keys(connection)


def _signer(keys: Sequence[tuple[int, str]], now: datetime) -> Signer:
    """Have the newest key sign that every server knows; without any such the oldest, which all know first."""
    known_us = to_us(now - NOTICE)
    signing = next((key for key in keys if key[0] <= known_us), keys[-1])
    others = [key for key in keys if key is not signing]
    return Signer([bytes.fromhex(secret) for _, secret in (signing, *others)])
