"""Kept pictures as rows: what a settlement writes of them, and how a row reads again.

The rows of one settlement stand with it in one transaction. Bytes that were on their way out are wanted again as soon
as a picture has them.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from msgspec import Struct
from sqlalchemy import ClauseElement, Connection, RowMapping, bindparam, func, null

from gateway.core.assets import Asset, AssetId, Parent, Verdict
from gateway.core.types import ImageFacts, RequestId
from gateway.stores.engine import Inserting
from gateway.stores.schema import asset_parents, assets, blobs
from gateway.stores.statement import Row, Statement, ignoring

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)

ASSET_ORDER: Final = (
    "asset_id", "request_id", "key_id", "time_us", "expires_us", "sha256", "bytes", "format", "width", "height",
    "alpha", "model", "path",
)  # fmt: skip
PARENT_ORDER: Final = ("asset_id", "parent_id", "role")
BLOB_ORDER: Final = ("sha256", "bytes", "stored_us")


def _blob(new: Inserting) -> ClauseElement:
    row = new(blobs).values({name: bindparam(name) for name in BLOB_ORDER})
    stored = func.coalesce(blobs.c.stored_us, row.excluded.stored_us)
    return row.on_conflict_do_update(index_elements=[blobs.c.sha256], set_={"stored_us": stored, "doomed_us": null()})


KEPT: Final = ignoring(assets, ASSET_ORDER)
DESCENDED: Final = ignoring(asset_parents, PARENT_ORDER)
HELD: Final = Statement(_blob, BLOB_ORDER)


class AssetRows(Struct, frozen=True, kw_only=True):
    """The pictures of one settlement, as rows."""

    assets: tuple[Row, ...] = ()
    parents: tuple[Row, ...] = ()
    blobs: tuple[Row, ...] = ()


NO_ROWS: Final = AssetRows()


def rows_of(kept: Sequence[Asset]) -> AssetRows:
    """Say what is written of kept pictures."""
    if not kept:
        return NO_ROWS
    pictures: list[Row] = []
    parents: list[Row] = []
    bodies: dict[str, Row] = {}  # by hash: two pictures may have the same bytes
    for asset in kept:
        time_us = to_us(asset.time)
        pictures.append(_asset_row(asset, time_us))
        parents += [(str(asset.asset_id), str(parent.asset_id), parent.role.value) for parent in asset.parents]
        bodies[asset.image.sha256] = _blob_row(asset, time_us)
    return AssetRows(assets=tuple(pictures), parents=tuple(parents), blobs=tuple(bodies.values()))


def write(connection: Connection, all_rows: Sequence[AssetRows]) -> None:
    """Write pictures, what they come from, and that their bytes are wanted; twice changes nothing."""
    KEPT.many(connection, [row for rows in all_rows for row in rows.assets])
    DESCENDED.many(connection, [row for rows in all_rows for row in rows.parents])
    # In one order, so that two transactions cannot wait for each other.
    HELD.many(connection, sorted((row for rows in all_rows for row in rows.blobs), key=lambda row: str(row[0])))


def asset_of(row: RowMapping, parents: Iterable[Parent] = ()) -> Asset:
    """Read a picture; ``row`` has the columns of ``assets`` and ``stored_us`` of its bytes."""
    return Asset(
        asset_id=AssetId(row["asset_id"]),
        request_id=RequestId(row["request_id"]),
        scope=row["key_id"],
        time=from_us(row["time_us"]),
        expires=from_us(row["expires_us"]),
        image=ImageFacts(
            sha256=row["sha256"],
            bytes=row["bytes"],
            format=row["format"],
            width=row["width"],
            height=row["height"],
            alpha=None if row["alpha"] is None else bool(row["alpha"]),
        ),
        path=row["path"],
        model=row["model"],
        is_stored=row["stored_us"] is not None,
        verdict=None if row["verdict"] is None else Verdict(row["verdict"]),
        parents=tuple(parents),
    )


def to_us(moment: datetime) -> int:
    """Microseconds since 1970, exact."""
    return (moment - _EPOCH) // _MICROSECOND


def from_us(moment_us: int) -> datetime:
    """Give the UTC time of ``to_us``."""
    return _EPOCH + moment_us * _MICROSECOND


def _asset_row(asset: Asset, time_us: int) -> Row:
    image = asset.image
    return (
        str(asset.asset_id),
        str(asset.request_id),
        asset.scope,
        time_us,
        to_us(asset.expires),
        image.sha256,
        image.bytes,
        image.format,
        image.width,
        image.height,
        None if image.alpha is None else int(image.alpha),
        None if asset.model is None else asset.model.replace("\x00", ""),
        asset.path,
    )


def _blob_row(asset: Asset, time_us: int) -> Row:
    return (asset.image.sha256, asset.image.bytes, time_us if asset.is_stored else None)
