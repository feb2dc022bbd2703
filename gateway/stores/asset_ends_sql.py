"""The end of pictures, on SQL: which are over, which are oldest, whose bytes nobody has any more."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, Connection, Select, bindparam, cast, delete, func, or_, select, update

from gateway.core.assets import AssetId, Verdict
from gateway.ports import Old
from gateway.stores.asset_rows import to_us
from gateway.stores.assets_sql import IDS_PER_QUERY, SqlAssets, end
from gateway.stores.schema import DOOMED, HERE, assets, blobs
from gateway.stores.statement import Statement

_ACCEPTED: Final = Verdict.ACCEPTED.value
_IS_HAD: Final = select(assets.c.asset_id).where(assets.c.sha256 == blobs.c.sha256, HERE).exists()

_FORGOTTEN: Final = Statement(delete(blobs).where(blobs.c.sha256 == bindparam("the_hash"), ~_IS_HAD), ("the_hash",))
_WANTED: Final = Statement(
    update(blobs).where(blobs.c.sha256 == bindparam("the_hash")).values(doomed_us=bindparam("nothing")),
    ("nothing", "the_hash"),
)


class SqlAssetEnds:
    """Implements ``ports.AssetEnds`` over the connections of ``SqlAssets``."""

    def __init__(self, books: SqlAssets) -> None:
        self._books = books

    async def expired(self, now: datetime, limit: int) -> Sequence[Old]:
        """Give pictures whose time is over."""
        statement = _old(limit).where(assets.c.expires_us <= to_us(now)).order_by(assets.c.expires_us)
        return await asyncio.to_thread(self._books.read, lambda connection: _read(connection, statement))

    async def oldest(self, limit: int, *, accepted: bool) -> Sequence[Old]:
        """Give the oldest pictures, either those that were accepted or the others."""
        is_not = or_(assets.c.verdict.is_(None), assets.c.verdict != _ACCEPTED)
        statement = _old(limit).where(assets.c.verdict == _ACCEPTED if accepted else is_not).order_by(assets.c.asset_id)
        return await asyncio.to_thread(self._books.read, lambda connection: _read(connection, statement))

    async def end(self, ids: Sequence[AssetId], now: datetime) -> int:
        """Note that pictures are gone; bytes that no other picture has are doomed. How many there were."""
        pages = [ids[start : start + IDS_PER_QUERY] for start in range(0, len(ids), IDS_PER_QUERY)]
        ended = [
            await asyncio.to_thread(self._books.write, lambda connection, page=page: end(connection, page, to_us(now)))
            for page in pages
        ]
        return sum(map(len, ended))

    async def total(self) -> int:
        """Add up the bytes of all pictures, shared ones once."""
        statement = select(cast(func.coalesce(func.sum(blobs.c.bytes), 0), BigInteger)).where(
            blobs.c.doomed_us.is_(None)
        )
        return await asyncio.to_thread(
            self._books.read, lambda connection: int(connection.execute(statement).scalar_one())
        )

    async def doomed(self, before: datetime, limit: int) -> Mapping[str, int]:
        """Give bytes that no picture has had since: hash and length."""
        statement = (
            select(blobs.c.sha256, blobs.c.bytes)
            .where(DOOMED, blobs.c.doomed_us < to_us(before))
            .order_by(blobs.c.doomed_us)
            .limit(limit)
        )
        return await asyncio.to_thread(
            self._books.read, lambda connection: {row.sha256: row.bytes for row in connection.execute(statement)}
        )

    async def release(self, sha256: str) -> bool:
        """Forget bytes, unless a picture has them again. Whether they may be deleted."""
        return await asyncio.to_thread(self._books.write, lambda connection: _release(connection, sha256))

    async def unknown(self, hashes: Sequence[str]) -> Sequence[str]:
        """Give those of ``hashes`` that nothing is known of."""
        known: set[str] = set()
        for start in range(0, len(hashes), IDS_PER_QUERY):
            statement = select(blobs.c.sha256).where(blobs.c.sha256.in_(hashes[start : start + IDS_PER_QUERY]))
            known |= await asyncio.to_thread(
                self._books.read,
                lambda connection, statement=statement: {row.sha256 for row in connection.execute(statement)},
            )
        return [sha256 for sha256 in hashes if sha256 not in known]


def _old(limit: int) -> Select[*tuple[object, ...]]:
    same = assets.alias("same")
    shared = select(func.count()).where(same.c.sha256 == assets.c.sha256, same.c.gone_us.is_(None)).scalar_subquery()
    return (
        select(assets.c.asset_id, assets.c.sha256, assets.c.bytes, shared.label("shared"))
        .where(assets.c.gone_us.is_(None))
        .limit(limit)
    )


def _read(connection: Connection, statement: Select[*tuple[object, ...]]) -> list[Old]:
    return [
        Old(asset_id=AssetId(row["asset_id"]), sha256=row["sha256"], bytes=row["bytes"], shared=row["shared"])
        for row in connection.execute(statement).mappings()
    ]


def _release(connection: Connection, sha256: str) -> bool:
    if _FORGOTTEN.one(connection, (sha256,)):
        return True
    _WANTED.one(connection, (None, sha256))
    return False
