"""What all servers of one ledger agree on to hash prompts with: the key itself, or only what it looks like.

The first server says which key it is. Without one of its own it makes one and leaves it in the ledger, for all others
to take. One that was given a key keeps it to itself: then the ledger holds its fingerprint, so that a server with
another one can be told apart, and whoever has the ledger alone can still not try out prompts.
"""

import hashlib
import secrets
from typing import Final

from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from gateway.stores.engine import only_one, open_engine
from gateway.stores.place import Access, place
from gateway.stores.refusals import LedgerRefused
from gateway.stores.schema import prompt_keys
from gateway.stores.statement import adding

KEY_BYTES: Final = 32
BUSY_MS: Final = 5_000
_NAME: Final = "prompts"
_AGREED: Final = adding(prompt_keys, ("name", "fingerprint", "secret"))


class Agreed(Struct, frozen=True, kw_only=True):
    """What holds for a server. ``key`` absent: it needs one of its own; ``is_alike``: its key is that of the others."""

    key: bytes | None
    is_alike: bool


def agree(database_url: str, own: bytes | None) -> Agreed:
    """Give the key of a ledger that was opened (and so upgraded) before; ``own``: that this server was given.

    Blocks. Raises ``LedgerRefused``.
    """
    where = place(database_url)
    engine = open_engine(where, Access.WRITE, busy_ms=BUSY_MS)
    try:
        with engine.begin() as connection:
            only_one(connection)
            row = connection.execute(select(prompt_keys.c.fingerprint, prompt_keys.c.secret)).one_or_none()
            if row is None:
                key = own or secrets.token_bytes(KEY_BYTES)
                _AGREED.one(connection, (_NAME, fingerprint(key), None if own is not None else key.hex()))
                return Agreed(key=key, is_alike=True)
    except SQLAlchemyError as error:
        raise LedgerRefused(f"the ledger {where} cannot say which key prompts are hashed with") from error
    finally:
        engine.dispose()
    if own is not None:
        return Agreed(key=own, is_alike=fingerprint(own) == row.fingerprint)
    return Agreed(key=None if row.secret is None else bytes.fromhex(row.secret), is_alike=row.secret is not None)


def fingerprint(key: bytes) -> str:
    """Give what a key looks like; of 32 random bytes it tells nothing else."""
    return hashlib.sha256(b"waybill prompt key" + key).hexdigest()
