"""A page of requests by any combination of filters, in a time that does not grow with the ledger.

Each filter has an index of its own that holds the requests' ids in order, tags have a table, and one small index holds
all that requests are filtered by. A page is found by a walk backwards from where it starts: along the index of one
filter, looking at the others row by row, for ``STEP`` rows at most; or along the small index, looking at all of them,
for ``STRIDE`` entries at most. It is asked first where each of these walks would end, and the one that gets furthest
back is taken: of a rare filter that is its own, which is mostly walked to the very end. One filter alone is walked as
far as it must be.

When a page is not full at the end of its walk it comes as it is, with the place to go on from: two filters that are
frequent each but hardly ever meet cost several short pages instead of one that takes seconds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import (
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Select,
    TextClause,
    and_,
    case,
    exists,
    func,
    literal_column,
    select,
)

from gateway.ports.readings import RequestQuery, Standing
from gateway.stores.schema import FAILED, OPEN, RequestState, request_tags, requests
from gateway.stores.usage import first_id

STEP = 1_000
STRIDE = 40_000

_ONE: ColumnElement[int] = literal_column("1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """One thing that is asked of a request. ``leading`` can be answered by an index, ``checked`` by none.

    ``ids``: the column that holds the ids in the order of that index.
    """

    ids: Column[str]
    leading: ColumnElement[bool]
    checked: ColumnElement[bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Walk:
    """How a page is found: along the index of ``leader`` (``None``: along that of all), down to ``edge``."""

    leader: Filter | None = None
    edge: str | None = None


def find_ids(connection: Connection, query: RequestQuery) -> tuple[list[str], str | None]:
    """Give the ids of a page, newest first, and the id after which the next one starts. Raises SQLAlchemy's errors."""
    filters = filters_of(query)
    walk = _choose(connection, query, filters)
    found = [str(name) for name in connection.execute(page_of(query, filters, walk)).scalars()]
    if len(found) > query.limit:
        return found[: query.limit], found[query.limit - 1]
    return found, walk.edge


def page_of(query: RequestQuery, filters: Sequence[Filter], walk: Walk) -> Select[str]:
    """Say which ids are on a page, and one more when there are more."""
    leader = walk.leader
    ids = requests.c.request_id if leader is None else leader.ids
    statement = select(ids).where(*_bounds(query, ids)).order_by(ids.desc()).limit(query.limit + 1)
    if walk.edge is not None:
        statement = statement.where(ids >= walk.edge)
    others = [one.checked for one in filters if one is not leader]
    if leader is None:
        return statement.where(*others)
    if others and ids is not requests.c.request_id:
        statement = statement.join_from(request_tags, requests, requests.c.request_id == ids)
    return statement.where(leader.leading, *others)


def edge_of(query: RequestQuery, leader: Filter | None) -> Select[str]:
    """Say where a walk would end; nothing when there is less than that left to walk along."""
    ids = requests.c.request_id if leader is None else leader.ids
    of_it = () if leader is None else (leader.leading,)
    offset = STRIDE if leader is None else STEP
    return select(ids).where(*of_it, *_bounds(query, ids)).order_by(ids.desc()).limit(1).offset(offset)


def _choose(connection: Connection, query: RequestQuery, filters: Sequence[Filter]) -> Walk:
    if len(filters) < 2:
        return Walk(leader=filters[0] if filters else None)
    best = Walk()
    for leader in (*filters, None):
        edge = connection.execute(edge_of(query, leader)).scalar()
        if edge is None:
            return Walk(leader=leader)
        if best.edge is None or str(edge) < best.edge:
            best = Walk(leader=leader, edge=str(edge))
    return best


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
    """The words of partial indexes; who was interrupted is looked for among those that failed."""
    if standing is Standing.OPEN:
        return Filter(ids=requests.c.request_id, leading=_words(OPEN), checked=_is(OPEN))
    if standing is Standing.FAILED:
        return Filter(ids=requests.c.request_id, leading=_words(FAILED), checked=_is(FAILED))
    is_cut = func.coalesce(requests.c.state, "") == RequestState.INTERRUPTED.value
    return Filter(ids=requests.c.request_id, leading=and_(_words(FAILED), is_cut), checked=is_cut)


def _words(said: TextClause) -> ColumnElement[bool]:
    return literal_column(said.text, Boolean)


def _is(said: TextClause) -> ColumnElement[bool]:
    return case((_words(said), 1), else_=0) == 1


def _bounds(query: RequestQuery, ids: Column[str]) -> list[ColumnElement[bool]]:
    found: list[ColumnElement[bool]] = []
    if query.since is not None:
        found.append(ids >= first_id(query.since))
    if query.until is not None:
        found.append(ids < first_id(query.until))
    if query.before is not None:
        found.append(ids < query.before)
    return found
