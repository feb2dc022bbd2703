"""JSON values as text for the ledger and the log: total, so that no answer's odd number can lose a paid request's row.

The fast path is orjson. What it refuses (integers past 64 bits, half characters, depth, foreign mappings) is
rewritten to the nearest thing it takes: long integers become their digits in a string.
"""

from collections.abc import Mapping, Sequence
from enum import Enum

import orjson

from gateway.core.types import JsonObject, JsonValue

MAX_DEPTH = 96  # far below orjson's own limit of 254
PRINTABLE_BITS = 14_000  # Python prints integers of up to 4,300 digits
LEAST, MOST = -(2**63), 2**64 - 1  # orjson's own range


def encode(document: JsonObject) -> bytes:
    """Give compact UTF-8 JSON on one line; never raises for a JSON value."""
    try:
        return orjson.dumps(document)
    except TypeError:
        return orjson.dumps(_tame(document, 0))


def _tame(value: object, depth: int) -> JsonValue:
    if depth > MAX_DEPTH:
        return "(too deep)"
    match value:
        case None | bool() | float():
            return value
        case Enum():
            return _tame(value.value, depth)
        case str():
            return _whole(value)
        case int():
            return _number(value)
        case Mapping():
            return {_whole(str(key)): _tame(item, depth + 1) for key, item in value.items()}
        case Sequence():
            return [_tame(item, depth + 1) for item in value]
        case _:
            return f"({type(value).__name__})"


def _whole(text: str) -> str:
    return text.encode("utf-8", "replace").decode("utf-8")


def _number(value: int) -> int | str:
    if LEAST <= value <= MOST:
        return value
    bits = value.bit_length()
    return str(value) if bits <= PRINTABLE_BITS else f"(integer of {bits} bits)"
