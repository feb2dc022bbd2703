"""A page of requests by any combination of filters, in a time that does not grow with the ledger.

Each filter has an index of its own that holds the requests' ids in order, tags have a table, and one small index holds
all that requests are filtered by. A page is found by a walk backwards from where it starts: along the index of one
filter, looking at the others row by row, for ``Reach.rows`` at most; or along the small index, looking at all of them,
for ``Reach.entries`` at most. It is asked first where each of these walks would end, and the one that gets furthest
back is taken: of a rare filter that is its own, which is mostly walked to the very end. One filter alone is walked as
far as it must be.

When a page is not full at the end of its walk it comes as it is, with the place to go on from: two filters that are
frequent each but hardly ever meet cost several short pages instead of one that takes seconds.
"""

from collections.abc import Sequence
from typing import Final

from msgspec import Struct
from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Select,
    case,
    exists,
    func,
    literal_column,
    select,
)

from gateway.ports.readings import RequestQuery, Standing
from gateway.stores.schema import FAILED, request_tags, requests
from gateway.stores.usage import first_id

_ONE: ColumnElement[int] = literal_column("1")


class Reach(Struct, frozen=True, kw_only=True):
    """How far one page looks. Reading a row is dear: it stands on a page of its own, which may have to be fetched."""

    rows: int = 1_000
    entries: int = 30_000


REACH: Final = Reach()


class Filter(Struct, frozen=True, kw_only=True):
    """One thing that is asked of a request. ``leading`` can be answered by an index, ``checked`` by none.

    ``ids``: the column that holds the ids in the order of that index; without ``leading`` there is none.
    """

    ids: Column[str]
    leading: ColumnElement[bool] | None
    checked: ColumnElement[bool]


class Walk(Struct, frozen=True, kw_only=True):
    """How a page is found: along the index of ``leader`` (``None``: along that of all), down to ``edge``."""

    leader: Filter | None = None
    edge: str | None = None


def find_ids(connection: Connection, query: RequestQuery, reach: Reach = REACH) -> tuple[list[str], str | None]:
    """Give the ids of a page, newest first, and the id after which the next one starts. Raises SQLAlchemy's errors."""
    filters = filters_of(query)
    walk = _choose(connection, query, filters, reach)
    found = [str(name) for name in connection.execute(page_of(query, filters, walk)).scalars()]
    if len(found) > query.limit:
        return found[: query.limit], found[query.limit - 1]
    return found, walk.edge


def page_of(query: RequestQuery, filters: Sequence[Filter], walk: Walk) -> Select[str]:
    """Say which ids are on a page, and one more when there are more."""
    leader = walk.leader
    ids = requests.c.request_id if leader is None else leader.ids
    statement = select(ids).where(*_bounds(query, ids, walk.edge)).order_by(ids.desc()).limit(query.limit + 1)
    others = [one.checked for one in filters if one is not leader]
    if others and ids is not requests.c.request_id:
        statement = statement.join_from(request_tags, requests, requests.c.request_id == ids)
    return statement.where(*_leading(leader), *others)


def edge_of(query: RequestQuery, leader: Filter | None, reach: Reach) -> Select[str]:
    """Say where a walk would end; nothing when there is less than that left to walk along."""
    ids = requests.c.request_id if leader is None else leader.ids
    offset = reach.entries if leader is None else reach.rows
    found = select(ids).where(*_leading(leader), *_bounds(query, ids))
    return found.order_by(ids.desc()).limit(1).offset(offset)


def _choose(connection: Connection, query: RequestQuery, filters: Sequence[Filter], reach: Reach) -> Walk:
    leaders = [one for one in filters if one.leading is not None]
    if len(filters) == len(leaders) < 2:
        return Walk(leader=leaders[0] if leaders else None)
    best = Walk()
    for leader in (*leaders, None):
        edge = connection.execute(edge_of(query, leader, reach)).scalar()
        if edge is None:
            return Walk(leader=leader)
        if best.edge is None or str(edge) < best.edge:
            best = Walk(leader=leader, edge=str(edge))
    return best


def _leading(leader: Filter | None) -> Sequence[ColumnElement[bool]]:
    return () if leader is None or leader.leading is None else (leader.leading,)


def filters_of(query: RequestQuery) -> list[Filter]:
    """Give what a query asks of requests."""
    found = [_standing(query.standing)] if query.standing is not None else []
    words: tuple[tuple[Column[str], str | None], ...] = (
        (requests.c.failure, query.failure),
        (requests.c.key_id, query.key),
        (requests.c.channel, query.channel),
        (requests.c.owner, query.owner),
        (requests.c.asked_model, query.model),
    )
    found += [_named(column, word) for column, word in words if word is not None]
    if query.status is not None:
        is_it = func.coalesce(requests.c.status, 0) == query.status
        found.append(Filter(ids=requests.c.request_id, leading=requests.c.status == query.status, checked=is_it))
    return found + [_tagged(tag) for tag in query.tags]  # what is asked of another table is looked at last


def _tagged(tag: str) -> Filter:
    held = request_tags.alias("held")
    is_tagged = exists(_ONE).where(held.c.tag == tag, held.c.request_id == requests.c.request_id)
    return Filter(ids=request_tags.c.request_id, leading=request_tags.c.tag == tag, checked=is_tagged)


def _named(column: Column[str], word: str) -> Filter:
    # What is wrapped in a function is not looked for in an index: only the leader's is.
    return Filter(ids=requests.c.request_id, leading=column == word, checked=func.coalesce(column, "") == word)


def _standing(standing: Standing) -> Filter:
    if standing is Standing.FAILED:
        is_it = case((literal_column(FAILED.text, Boolean), 1), else_=0) == 1
    else:
        is_it = func.coalesce(requests.c.state, "") == standing.value
    return Filter(ids=requests.c.request_id, leading=None, checked=is_it)


def _bounds(query: RequestQuery, ids: Column[str], edge: str | None = None) -> list[ColumnElement[bool]]:
    """Say between which ids to walk: with one bound on each side, since an index is entered by one only."""
    lowest = [one for one in (edge, None if query.since is None else first_id(query.since)) if one is not None]
    highest = [one for one in (query.before, None if query.until is None else first_id(query.until)) if one is not None]
    found: list[ColumnElement[bool]] = []
    if lowest:
        found.append(ids >= max(lowest))
    if highest:
        found.append(ids < min(highest))
    return found
