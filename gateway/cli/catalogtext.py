"""A listed model as a row of the routes file: YAML in one line, and the remarks above it."""

import re
from datetime import date
from fractions import Fraction

import orjson

from gateway.cli.catalogtable import FLAGS, Line
from gateway.config.insertion import NewRow
from gateway.core.listed import FlatPrice, Maker, Ratios
from gateway.core.prices import TokenPrice
from gateway.core.types import Surface

DIGITS = 12
_PLAIN = re.compile(r"[A-Za-z][A-Za-z0-9._/-]*")
_CONSTANTS = frozenset({"true", "false", "null"})


def new_row(line: Line, maker: Maker, source: str, day: date) -> NewRow:
    """Write a row for a listed model; it takes no traffic before a smoke run of it has passed."""
    served = line.claims or ((Surface.GENERATIONS,) if maker.makes_pictures else (Surface.RESPONSES,))
    parts = [f"serves: [{', '.join(served)}]"]
    price = _price(line, maker)
    if price is not None:
        parts.append(f"price: {{{price}}}")
    parts.append("require: verified")
    said = [FLAGS[flag] for flag in line.flags]
    remarks = [f"# {_clean(source)} on {day.isoformat()}", *(f"# {one}" for one in said)]
    return NewRow(name=line.model, key=_word(line.model), block=f"{{{', '.join(parts)}}}", remarks=tuple(remarks))


def _price(line: Line, maker: Maker) -> str | None:
    match line.listed:
        case FlatPrice(amount=amount, per_image=per_image):
            unit = "per_image" if per_image else "per_request"
            return f"unit: {unit}, amount: {decimal(amount)}, currency: USD"
        case Ratios() as found:
            named = [
                *(("model_ratio", found.model), ("completion_ratio", found.completion)),
                *(("cache_ratio", found.cache), ("image_ratio", found.image), ("group_ratio", found.group)),
            ]
            needed = {"model_ratio", "completion_ratio"}
            told = [f"{name}: {decimal(ratio)}" for name, ratio in named if name in needed or ratio != 1]
            table = maker.price.table if isinstance(maker.price, TokenPrice) else None
            told += [] if table is None else [f"token_table: {table.name}"]
            return ", ".join(["unit: ratio", *told, "currency: USD"])
        case _:
            return None


def decimal(exact: Fraction) -> str:
    """Write an amount with as many digits as it has, at most twelve after the point."""
    whole, rest = divmod(round(exact * 10**DIGITS), 10**DIGITS)
    return f"{whole}.{rest:0{DIGITS}d}".rstrip("0").rstrip(".")


def _word(text: str) -> str:
    is_plain = _PLAIN.fullmatch(text) and text.lower() not in _CONSTANTS
    return text if is_plain else orjson.dumps(text).decode()


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else " " for char in text)[:200]
