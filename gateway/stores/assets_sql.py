"""What is known of kept pictures, on SQL: read by key, newest first; changed in short transactions of their own.

Rows of new pictures are written with their settlement (``asset_rows``). Here is what happens to them afterwards: a
verdict, and the end. A picture's row stays when the picture goes; its bytes are doomed in the same transaction when no
other picture has them. Everything runs in threads and never on the event loop. ``LedgerUnavailable`` for all failures.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Final, TypeVar

from sqlalchemy import Connection, Engine, Select, bindparam, select, update
from sqlalchemy.exc import SQLAlchemyError

from gateway.core.assets import MOST_PARENTS, Asset, AssetId, Parent, Verdict, verdict_of
from gateway.core.types import InputRole
from gateway.ports import AssetPage, AssetQuery, LedgerUnavailable
from gateway.stores import tally
from gateway.stores.asset_rows import asset_of, to_us
from gateway.stores.engine import open_engine
from gateway.stores.place import Access
from gateway.stores.room import WAIT_S, Room
from gateway.stores.schema import HERE, asset_parents, assets, blobs, requests
from gateway.stores.statement import Statement

BUSY_MS: Final = 5_000
THREADS: Final = 4
PATIENCE_S: Final = 10.0  # of operators; requests have less
IDS_PER_QUERY: Final = 500
MOST_CHILDREN: Final = 1_000
REACH: Final = 2_000  # rows that one page of several filters looks at

T = TypeVar("T")
Rows = Select[*tuple[object, ...]]

_JUDGED: Final = Statement(
    update(assets).where(assets.c.asset_id == bindparam("the_id"), HERE).values(verdict=bindparam("new_verdict")),
    ("new_verdict", "the_id"),
)
_SUMMED_UP: Final = Statement(
    update(requests).where(requests.c.request_id == bindparam("the_id")).values(verdict=bindparam("new_verdict")),
    ("new_verdict", "the_id"),
)
GONE: Final = Statement(
    update(assets).where(assets.c.asset_id == bindparam("the_id"), HERE).values(gone_us=bindparam("now_us")),
    ("now_us", "the_id"),
)
DOOMED: Final = Statement(
    update(blobs)
    .where(
        blobs.c.sha256 == bindparam("the_hash"),
        ~select(assets.c.asset_id).where(assets.c.sha256 == blobs.c.sha256, HERE).exists(),
    )
    .values(doomed_us=bindparam("now_us")),
    ("now_us", "the_hash"),
)
_STORED: Final = Statement(
    update(blobs).where(blobs.c.sha256 == bindparam("the_hash")).values(stored_us=bindparam("now_us")),
    ("now_us", "the_hash"),
)


class SqlAssets:
    """Implements ``ports.AssetBooks``; made by ``open_assets``, ended by ``close``."""

    def __init__(self, reading: Engine, writing: Engine) -> None:
        self._reading = reading
        self._writing = writing
        self._room = Room("assets", THREADS, "the assets could not be had", PATIENCE_S)

    async def known(self, scope: str, hashes: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
        """Give the assets of one owner by the hash of their bytes, newest first; a hash without any has no entry."""
        look = partial(self.read, lambda connection: _known(connection, scope, hashes))
        return await self._room.ask(look, WAIT_S)

    async def find(self, asset_id: str) -> Asset | None:
        """Give one asset that is still there, with its parents."""
        return await self._looking(self.read, lambda connection: _find(connection, asset_id))

    async def children(self, ids: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
        """Give the assets that were made from each, newest first; one without any has no entry."""
        return await self._looking(self.read, lambda connection: _children(connection, ids))

    async def page(self, query: AssetQuery) -> AssetPage:
        """Give a page of assets that are still there, with their parents."""
        return await self._looking(self.read, lambda connection: _page(connection, query))

    async def judge(self, asset_id: str, verdict: Verdict | None, at: datetime) -> bool:  # noqa: ARG002 - not kept
        """Set the verdict on an asset; whether there is such a one."""
        return await self._looking(self.write, lambda connection: _judge(connection, asset_id, verdict))

    async def remove(self, asset_id: str, at: datetime) -> bool:
        """Note that an asset is gone; its bytes go when no other asset has them. Whether there was such a one."""
        return await self._looking(self.write, lambda connection: bool(end(connection, [asset_id], to_us(at))))

    async def stored(self, sha256: str, at: datetime) -> None:
        """Note that bytes have reached the store after all."""
        await self._looking(self.write, lambda connection: _STORED.one(connection, (to_us(at), sha256)))

    async def _looking(self, work: Callable[[Callable[[Connection], T]], T], what: Callable[[Connection], T]) -> T:
        return await self._room.ask(partial(work, what))

    def pages(self, query: AssetQuery) -> Sequence[Asset]:
        """Give the assets of a page. Blocks."""
        return self.read(lambda connection: _page(connection, query)).data

    def read(self, work: Callable[[Connection], T]) -> T:
        """Read in a transaction of its own. Blocks."""
        return _within(self._reading, work)

    def write(self, work: Callable[[Connection], T]) -> T:
        """Write in a short transaction of its own. Blocks."""
        return _within(self._writing, work)

    def close(self) -> None:
        """Close what is connected."""
        self._room.close()
        self._reading.dispose()
        self._writing.dispose()


def open_assets(database_url: str) -> SqlAssets:
    """Give the assets of a ledger that was opened (and so upgraded) before. Raises ``LedgerRefused`` for a bad URL."""
    return SqlAssets(
        open_engine(database_url, Access.READ, busy_ms=BUSY_MS, pool=2),
        open_engine(database_url, Access.WRITE, busy_ms=BUSY_MS),
    )


def end(connection: Connection, ids: Sequence[str], now_us: int) -> list[str]:
    """Note that assets are gone, and doom bytes that nobody has any more; gives those that were there."""
    statement = select(assets.c.asset_id, assets.c.sha256).where(assets.c.asset_id.in_(ids), HERE)
    hashes = {row.asset_id: row.sha256 for row in connection.execute(statement)}
    gone = [found for found in sorted(hashes) if GONE.one(connection, (now_us, found))]
    DOOMED.many(connection, [(now_us, sha256) for sha256 in sorted({hashes[found] for found in gone})])
    return gone


def _within(engine: Engine, work: Callable[[Connection], T]) -> T:
    try:
        with engine.begin() as connection:
            return work(connection)
    except SQLAlchemyError as error:
        raise LedgerUnavailable("what is known of pictures cannot be reached") from error


def _known(connection: Connection, scope: str, hashes: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
    """Look each hash up by itself: along the index of hashes, never along all that an owner has."""
    found: dict[str, Sequence[AssetId]] = {}
    for sha256 in dict.fromkeys(hashes):
        statement = (
            select(assets.c.asset_id)
            .where(assets.c.sha256 == sha256, assets.c.key_id == scope, HERE)
            .order_by(assets.c.asset_id.desc())
            .limit(MOST_PARENTS)
        )
        same = [AssetId(row.asset_id) for row in connection.execute(statement)]
        if same:
            found[sha256] = same
    return found


def _find(connection: Connection, asset_id: str) -> Asset | None:
    return next(iter(_assets(connection, _rows().where(assets.c.asset_id == asset_id))), None)


def _assets(connection: Connection, statement: Rows) -> list[Asset]:
    rows = connection.execute(statement).mappings().all()
    parents: dict[str, list[Parent]] = {}
    ids = [row["asset_id"] for row in rows]
    for start in range(0, len(ids), IDS_PER_QUERY):
        lineage = (
            select(asset_parents)
            .where(asset_parents.c.asset_id.in_(ids[start : start + IDS_PER_QUERY]))
            .order_by(asset_parents.c.parent_id.desc(), asset_parents.c.role)
        )
        for row in connection.execute(lineage):
            parent = Parent(asset_id=AssetId(row.parent_id), role=InputRole(row.role))
            parents.setdefault(row.asset_id, []).append(parent)
    return [asset_of(row, parents.get(row["asset_id"], ())) for row in rows]


def _children(connection: Connection, ids: Sequence[str]) -> Mapping[str, Sequence[AssetId]]:
    found: dict[str, list[AssetId]] = {}
    for start in range(0, len(ids), IDS_PER_QUERY):
        statement = (
            select(asset_parents.c.parent_id, asset_parents.c.asset_id)
            .where(asset_parents.c.parent_id.in_(ids[start : start + IDS_PER_QUERY]))
            .distinct()
            .order_by(asset_parents.c.asset_id.desc())
            .limit(MOST_CHILDREN)
        )
        for row in connection.execute(statement):
            found.setdefault(row.parent_id, []).append(AssetId(row.asset_id))
    return found


def _rows() -> Rows:
    return (
        select(*assets.c, blobs.c.stored_us)
        .select_from(assets.outerjoin(blobs, blobs.c.sha256 == assets.c.sha256))
        .where(HERE)
    )


def _page(connection: Connection, query: AssetQuery) -> AssetPage:
    """Walk backwards along the index of one filter; where there are several, ``REACH`` rows of it at most."""
    given = (
        (assets.c.request_id, query.request),
        (assets.c.sha256, query.sha256),
        (assets.c.verdict, None if query.verdict is None else query.verdict.value),
        (assets.c.key_id, query.scope),
        (assets.c.model, query.model),
    )  # the rarest first
    wanted = [column == value for column, value in given if value is not None]
    before = [] if query.before is None else [assets.c.asset_id < query.before]
    statement = _rows().where(*wanted, *before).order_by(assets.c.asset_id.desc()).limit(query.limit + 1)
    last: str | None = None
    if len(wanted) > 1:
        walk = select(assets.c.asset_id).where(HERE, wanted[0], *before).order_by(assets.c.asset_id.desc()).limit(REACH)
        ids = [row.asset_id for row in connection.execute(walk)]
        last = ids[-1] if len(ids) == REACH else None
        statement = statement if last is None else statement.where(assets.c.asset_id >= last)
    found = _assets(connection, statement)
    if len(found) > query.limit:
        return AssetPage(data=found[: query.limit], next=found[query.limit - 1].asset_id)
    return AssetPage(data=found, next=None if last is None else AssetId(last))


def _judge(connection: Connection, asset_id: str, verdict: Verdict | None) -> bool:
    """Set a verdict, and the one on its request that follows from it; the sums by day are put right."""
    row = connection.execute(select(assets.c.request_id).where(assets.c.asset_id == asset_id, HERE)).one_or_none()
    if row is None:
        return False
    (request_id,) = row
    tally.take_out(connection, [request_id])
    is_there = bool(_JUDGED.one(connection, (None if verdict is None else verdict.value, asset_id)))
    said = connection.execute(select(assets.c.verdict).where(assets.c.request_id == request_id))
    whole = verdict_of(None if word is None else Verdict(word) for (word,) in said)
    _SUMMED_UP.one(connection, (None if whole is None else whole.value, request_id))
    tally.put_in(connection, [request_id])
    return is_there
