"""Which rows a transaction will change that others change too, locked before the first of them is changed.

Several threads and several servers write at the same time on PostgreSQL. Whoever changes shared rows in an order of its
own waits for somebody who waits for it; so all are locked first, in one order: requests, then the keys that pay, then
the transaction's share of the sums. On SQLite there is one lock for everything, and the transaction has it.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Integer, bindparam, cast, func, literal_column, select

from gateway.stores.engine import POSTGRES
from gateway.stores.schema import attempts, holds, keys, requests
from gateway.stores.statement import Paged, Statement
from gateway.stores.tally import shard

_SUMS = 727_174_927  # the space of advisory locks for the shares of the sums
_ONE: ColumnElement[int] = literal_column("1")

REQUESTS = Paged(
    lambda ids: select(_ONE).where(requests.c.request_id.in_(ids)).order_by(requests.c.request_id).with_for_update()
)
KEYS = Paged(lambda ids: select(_ONE).where(keys.c.key_id.in_(ids)).order_by(keys.c.key_id).with_for_update())
PAYERS = Paged(
    lambda ids: (
        select(holds.c.key_id)
        .join_from(attempts, holds, holds.c.request_id == attempts.c.request_id)
        .where(attempts.c.attempt_id.in_(ids))
    )
)
SHARE = Statement(
    select(func.pg_advisory_xact_lock(cast(bindparam("space"), Integer), cast(bindparam("share"), Integer))),
    ("space", "share"),
)


def lock(connection: Connection, *, settled: Sequence[str], voided: Sequence[str], payers: Sequence[str]) -> None:
    """Lock what a batch will change: requests that end, keys that something is held of, or given back to.

    ``payers``: those of begins and settlements; those of attempts that were not made are looked for.
    """
    if connection.dialect.name != POSTGRES:
        return
    for statement, page in REQUESTS.pages(sorted(settled)):
        statement.run(connection, page)
    paying = set(payers)
    for statement, page in PAYERS.pages(voided):
        paying.update(str(key_id) for (key_id,) in statement.told(connection, page))
    for statement, page in KEYS.pages(sorted(paying)):
        statement.run(connection, page)
    if settled:
        SHARE.run(connection, (_SUMS, shard(connection)))
