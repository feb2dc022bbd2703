"""Prices: the catalog's list, and the price that a row of the routes file means.

The catalog is part of the program: a mistake in it raises ``CatalogBroken``, while a row that names a price which is
not there is a mistake like any other of the file.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, TypeAlias

from msgspec import Struct
from pydantic import AfterValidator, Field, model_validator

from gateway.config.catalog import CatalogBroken, read_file, shipped
from gateway.config.forms import Count, Strict
from gateway.config.mistake import START, KeyPath, Mistake, in_file, mistake, quoted, suggestion
from gateway.config.nodes import Block, Node, Scalar, block_at, shown, word
from gateway.config.price_blocks import RATES, PriceBlock
from gateway.core.prices import (
    MICRO,
    ImagePrice,
    Item,
    MatrixPrice,
    Price,
    PriceUnit,
    Ratios,
    ReportedPrice,
    RequestPrice,
    TokenPrice,
    ratio_price,
)
from gateway.core.tokens import Size, TokenTable

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")
_DAY = r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}$"


def _size(value: str) -> str:
    if not _SIZE.fullmatch(value):
        raise ValueError("must be a size, written like 1024x1024")
    return value


SizeWord: TypeAlias = Annotated[str, AfterValidator(_size)]


class _Sourced(Strict):
    as_of: str = Field(pattern=_DAY, description="The day the figures were gathered.")
    source: str = Field(min_length=4, description="Where they are from.")


class _TableBlock(_Sourced):
    factors: dict[str, Count] = Field(default={}, description="The formula's axis factor, by quality.")
    fixed: dict[SizeWord, dict[str, Count]] = Field(default={}, description="Tokens by size and quality.")
    auto_sizes: list[SizeWord] = Field(default=[], description="What a request without a size may come back as.")
    partial: Count | None = Field(default=None, description="Tokens of one partial picture.")

    @model_validator(mode="after")
    def _one_way(self) -> "_TableBlock":
        if bool(self.factors) is bool(self.fixed) or bool(self.factors) is not bool(self.auto_sizes):
            raise ValueError("has either factors with auto_sizes, or fixed")
        if not all(self.fixed.values()):
            raise ValueError("has a size without a quality")
        return self


class _ListedBlock(PriceBlock):
    as_of: str = Field(pattern=_DAY, description="The day the figures were gathered.")
    source: str = Field(min_length=4, description="Where they are from.")

    @model_validator(mode="after")
    def _for_everybody(self) -> "_ListedBlock":
        if isinstance(self.group_ratio, dict):
            raise ValueError("is for everybody: what a group pays of it is an account's matter")  # noqa: TRY004
        return self


class _PricesFile(Strict):
    as_of: str = Field(pattern=_DAY, description="The day the data was gathered.")
    sources: list[str] = Field(min_length=1, description="Where the data is from.")
    token_tables: dict[str, _TableBlock] = Field(default={}, description="Tokens of a picture, by table.")
    prices: dict[str, _ListedBlock] = Field(min_length=1, description="Prices, by name.")


class Prices(Struct, frozen=True, kw_only=True):
    """The catalog: prices by name, and the tables that estimates are made with."""

    by_name: Mapping[str, Price]
    tables: Mapping[str, TokenTable]

    def of_row(self, name: str, block: PriceBlock | None, group: str | None = None) -> Price | None:
        """Give the price that a row means to a price group; ``name`` is ``channel/row``. Nothing when it has none."""
        if block is None:
            return None
        if block.catalog is not None:
            return self.by_name[block.catalog]
        return _price(f"row:{name}", block, self.tables, group)

    def check(self, root: Block) -> Iterator[Mistake]:
        """Find the rows that name a price or a token table which is not in the catalog."""
        for path, node, group in _rows(root):
            if isinstance(node, Block):
                yield from _of_no_group(node.get("group_ratio"), (*path, "group_ratio"), group)
                yield from _absent(node.get("catalog"), (*path, "catalog"), "price", self.by_name)
                yield from _absent(node.get("token_table"), (*path, "token_table"), "token table", self.tables)
            else:
                yield from _absent(node, path, "price", self.by_name)


def prices() -> Prices:
    """Read the shipped ``prices.yaml``. Raises ``CatalogBroken``."""
    return read_prices(shipped("prices.yaml"), "prices.yaml")


def read_prices(data: bytes, name: str) -> Prices:
    """Read a price list. A price is known as ``NAME@DAY`` on records. Raises ``CatalogBroken``."""
    file = read_file(data, name, _PricesFile)
    tables = {table: _table(table, block) for table, block in file.token_tables.items()}
    bad = [
        mistake(START, ("prices", one), f"there is no token table {quoted(block.token_table)}")
        for one, block in file.prices.items()
        if block.token_table is not None and block.token_table not in tables
    ]
    if bad:
        raise CatalogBroken(in_file(bad, name))
    by_name = {one: _price(f"{one}@{block.as_of}", block, tables) for one, block in file.prices.items()}
    return Prices(by_name=by_name, tables=tables)


def _price(price_id: str, block: PriceBlock, tables: Mapping[str, TokenTable], group: str | None = None) -> Price:
    currency, amount = block.currency, (block.amount or Fraction(0)) * MICRO
    table = tables[block.token_table] if block.token_table is not None else None
    match block.unit:
        case PriceUnit.PER_REQUEST:
            return RequestPrice(id=price_id, currency=currency, amount=amount)
        case PriceUnit.PER_IMAGE:
            return ImagePrice(id=price_id, currency=currency, amount=amount)
        case PriceUnit.PER_IMAGE_MATRIX:
            cells = {
                size: {quality: cell * MICRO for quality, cell in row.items()}
                for size, row in (block.matrix or {}).items()
            }
            return MatrixPrice(id=price_id, currency=currency, cells=cells)
        case PriceUnit.UPSTREAM_REPORTED:
            return ReportedPrice(id=price_id, currency=currency)
        case PriceUnit.RATIO:
            return ratio_price(price_id, currency, _ratios(block, group), table)
        case _:
            # An amount for a million tokens is as many micro-units for one.
            told = {Item(name): getattr(block, name) for name in RATES}
            rates = {item: rate for item, rate in told.items() if rate is not None}
            return TokenPrice(id=price_id, currency=currency, rates=rates, table=table, exact_up_to=block.exact_up_to)


def _ratios(block: PriceBlock, group: str | None) -> Ratios:
    one = Fraction(1)
    share = block.group_ratio.get(group or "", one) if isinstance(block.group_ratio, dict) else block.group_ratio
    return Ratios(
        model=block.model_ratio or Fraction(0),
        completion=block.completion_ratio or Fraction(0),
        cache=one if block.cache_ratio is None else block.cache_ratio,
        image=one if block.image_ratio is None else block.image_ratio,
        group=one if share is None else share,
    )


def _table(name: str, block: _TableBlock) -> TokenTable:
    return TokenTable(
        name=name,
        factors=block.factors,
        fixed={_pixels(size): row for size, row in block.fixed.items()},
        auto_sizes=tuple(_pixels(size) for size in block.auto_sizes),
        partial=block.partial or 0,
    )


def _pixels(size: str) -> Size:
    width, _, height = size.partition("x")
    return (int(width), int(height))


def _rows(root: Block) -> Iterator[tuple[KeyPath, Node, str | None]]:
    """Give every row's price as it stands in the file, with its channel's price group."""
    channels = block_at(root.get("channels"))
    for channel, entry in {} if channels is None else channels.entries.items():
        node = block_at(entry.node)
        rows = None if node is None else block_at(node.get("rows"))
        group = None if node is None else word(node.get("group"))
        for row, held in {} if rows is None else rows.entries.items():
            price = held.node.get("price") if isinstance(held.node, Block) else None
            if price is not None:
                yield ("channels", channel, "rows", row, "price"), price, group


def _of_no_group(node: Node | None, path: KeyPath, group: str | None) -> Iterator[Mistake]:
    """Find ratios by group that the channel has no group for."""
    by_group = block_at(node)
    if by_group is None:
        return
    if group is None:
        yield mistake(by_group.mark, path, "names price groups, so the channel needs a 'group'")
    elif group not in by_group.entries:
        near = suggestion(group, by_group.entries)
        yield mistake(by_group.mark, path, f"has no ratio for the channel's group {quoted(group)}{near}")


def _absent(node: Node | None, path: KeyPath, what: str, known: Mapping[str, object]) -> Iterator[Mistake]:
    name = word(node)
    if name is not None and isinstance(node, Scalar) and name not in known:
        yield mistake(
            node.mark, path, f"there is no {what} {shown(node, name)} in the catalog{suggestion(name, known)}"
        )
