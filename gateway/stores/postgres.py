"""Opens connections to a PostgreSQL server: how one is set, and which of its errors pass by themselves.

A commit that returned is on the server's disk (``synchronous_commit=on``, whatever the server's default). Reading
transactions are read only and see one moment. A dead peer is found by TCP keepalives; a server that is alive and does
not answer is the caller's time-out to notice. Needs a session of its own (no pooler that hands out transactions).
"""

import logging
from importlib import import_module
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL
from sqlalchemy.pool import NullPool, QueuePool

from gateway.extras import how_to_install
from gateway.stores.place import Access
from gateway.stores.refusals import LedgerRefused

CONNECT_S = 3
POOL_WAIT_S = 2.0
PREPARED = 400  # statements that the server keeps for a connection
SILENCE_S = 10  # how long what was sent may stay unacknowledged before the connection counts as dead
NO_DRIVER = (
    "storage.database names a PostgreSQL server, and this installation has no driver for one: "
    f"install the extra, {how_to_install('postgres')}"
)

# Who writes finds every row by a key. A plan is kept, and may have been made when the tables were empty: it must not
# read them whole once they are full.
_BY_KEY = {"enable_seqscan": "off", "enable_hashjoin": "off", "enable_mergejoin": "off"}

# lock_not_available, deadlock_detected, serialization_failure: another transaction was in the way.
_IN_THE_WAY = frozenset({"55P03", "40P01", "40001"})


def open_server(url: URL, access: Access, *, busy_ms: int, pool: int = 0) -> Engine:
    """Give an engine. ``busy_ms``: how long a statement waits for a lock; ``pool``: connections kept, 0 keeps none.

    Raises ``LedgerRefused`` when the driver is not installed. Who asks for a pool disposes of the engine.
    """
    settings = {"lock_timeout": f"{busy_ms}ms", "synchronous_commit": "on", "timezone": "UTC"}
    if access is Access.WRITE:
        settings |= _BY_KEY
    else:
        settings |= {"default_transaction_read_only": "on", "default_transaction_isolation": "repeatable\\ read"}
    given = url.query.get("options", "")
    options = " ".join([given if isinstance(given, str) else "", *(f"-c {key}={settings[key]}" for key in settings)])
    arguments = {
        "options": options.strip(),
        "connect_timeout": CONNECT_S,
        "keepalives_idle": SILENCE_S // 2,
        "keepalives_interval": 2,
        "keepalives_count": 3,
        "tcp_user_timeout": SILENCE_S * 1000,
        "application_name": "waybill",
    }
    full = url.set(drivername="postgresql+psycopg").difference_update_query(["options"])
    try:
        if pool:
            return create_engine(
                full,
                connect_args=arguments,
                poolclass=QueuePool,
                pool_size=pool,
                max_overflow=0,
                pool_timeout=POOL_WAIT_S,
                pool_pre_ping=True,
            )
        engine = create_engine(full, connect_args=arguments, poolclass=NullPool)
    except ImportError:
        raise LedgerRefused(NO_DRIVER) from None
    if access is Access.WRITE:
        event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _record: object) -> None:
    """Have statements kept by the server, to which one is another when a number in it has another size."""
    log = logging.getLogger("psycopg")
    if not log.handlers:  # what it has to say of a transaction that failed is known already
        log.addHandler(logging.NullHandler())
    connection.adapters.register_dumper(int, import_module("psycopg.types.numeric").Int8Dumper)
    connection.prepared_max = PREPARED


def is_in_the_way(error: BaseException) -> bool:
    """Whether another transaction was in the way: the same statement may succeed later."""
    return getattr(error, "sqlstate", None) in _IN_THE_WAY
