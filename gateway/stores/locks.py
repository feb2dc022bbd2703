"""Which rows a transaction will change that others change too, locked before the first of them is changed.

Several threads and several servers write at the same time on PostgreSQL. Whoever changes shared rows in an order of its
own waits for somebody who waits for it; so all are locked first, in one order: requests, then the keys that pay, then
the transaction's share of the sums. On SQLite there is one lock for everything, and the transaction has it.
"""

from collections.abc import Sequence

from sqlalchemy import Connection, or_, select

from gateway.stores.engine import POSTGRES, hold_rows
from gateway.stores.schema import attempts, holds, keys, requests
from gateway.stores.tally import shard

_SUMS = 727_174_927  # the space of advisory locks for the shares of the sums


def lock(connection: Connection, *, settled: Sequence[str], voided: Sequence[str], payers: Sequence[str]) -> None:
    """Lock what a batch will change: requests that end, attempts that were not made, keys that something is held of."""
    if connection.dialect.name != POSTGRES:
        return
    hold_rows(connection, requests.c.request_id, settled)
    paying = set(payers)
    if settled or voided:
        of_voided = select(attempts.c.request_id).where(attempts.c.attempt_id.in_(voided))
        theirs = or_(holds.c.request_id.in_(settled), holds.c.request_id.in_(of_voided))
        paying.update(connection.execute(select(holds.c.key_id).where(theirs).distinct()).scalars())
    hold_rows(connection, keys.c.key_id, paying)
    if settled:
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(%s, %s)", (_SUMS, shard(connection)))
