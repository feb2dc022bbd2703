"""What servers left behind when they ended: their open requests become ``interrupted``, with what they may have cost.

An attempt that was under way keeps the quote it was begun with as its cost and exposure; its outcome is unknown. What
its key holds for it is closed: credits go back, money counts as spent. A server that was only paused may still settle
such a request: its settlement replaces what is written of it here.
"""

import time
from collections.abc import Iterator, Sequence

from sqlalchemy import ColumnElement, Connection, exists, literal_column, not_, select, true, update

from gateway.stores import tally
from gateway.stores.engine import hold_rows
from gateway.stores.holds import Closure, close
from gateway.stores.schema import AttemptState, RequestState, attempts, requests, servers

IDS_PER_STATEMENT = 500

# In words, not as bound values: a partial index serves a query only when both say the same.
_OPEN = requests.c.state == literal_column(f"'{RequestState.OPEN.value}'")
_SENT = attempts.c.state == literal_column(f"'{AttemptState.SENT.value}'")


def recover_all(connection: Connection) -> int:
    """Interrupt whatever is open, for who is alone with the ledger; how many requests."""
    return _interrupt(connection, true())


def recover_from(connection: Connection, server_id: str) -> int:
    """Interrupt what one server left open; how many requests."""
    return _interrupt(connection, requests.c.server_id == server_id)


def recover_orphans(connection: Connection) -> int:
    """Interrupt what is with no server that is listed; how many requests."""
    is_listed = exists(select(servers.c.server_id).where(servers.c.server_id == requests.c.server_id))
    return _interrupt(connection, not_(is_listed))


def _interrupt(connection: Connection, whose: ColumnElement[bool]) -> int:
    left_open = select(requests.c.request_id).where(_OPEN, whose)
    left_sent = (
        select(attempts.c.request_id)
        .join(requests, requests.c.request_id == attempts.c.request_id)
        .where(_SENT, whose)
        .distinct()
    )
    opened = connection.execute(left_open).scalars().all()
    ids = sorted({*opened, *connection.execute(left_sent).scalars()})
    for page in _pages(ids):
        hold_rows(connection, requests.c.request_id, page)
        tally.take_out(connection, page)
        connection.execute(
            update(attempts)
            .where(attempts.c.request_id.in_(page), _SENT)
            .values(state=AttemptState.INTERRUPTED.value, outcome="unknown")
        )
        connection.execute(
            update(requests).where(requests.c.request_id.in_(page), _OPEN).values(state=RequestState.INTERRUPTED.value)
        )
        tally.put_in(connection, page)
        now_us = time.time_ns() // 1000
        close(connection, [Closure(request_id=name, credits=0, micro=None, time_us=now_us) for name in page])
    return len(opened)


def _pages(ids: Sequence[str]) -> Iterator[Sequence[str]]:
    for start in range(0, len(ids), IDS_PER_STATEMENT):
        yield ids[start : start + IDS_PER_STATEMENT]
