"""What replicas tell each other of targets: one line of JSON for each thing that was seen.

A line of another version that cannot be read says nothing; nothing that comes from there raises.
"""

from typing import TypeAlias

import orjson
from msgspec import Struct

from gateway.core.health import News, TargetId
from gateway.core.types import Action, Failure, FailureClass, Fault, Outcome


class Ended(Struct, frozen=True, kw_only=True):
    """How an attempt ended."""

    target: TargetId
    news: News


class Took(Struct, frozen=True, kw_only=True):
    """How long an attempt took."""

    target: TargetId
    size: str
    seconds: float


class Forgiven(Struct, frozen=True, kw_only=True):
    """An operator said that a channel is well."""

    channel: str


Told: TypeAlias = Ended | Took | Forgiven


def write(by: str, told: Told) -> str:
    """Give the line; ``by``: which replica says it."""
    if isinstance(told, Forgiven):
        return orjson.dumps(["forgiven", by, told.channel]).decode()
    place = [told.target.channel, told.target.row]
    if isinstance(told, Took):
        return orjson.dumps(["took", by, *place, told.size, told.seconds]).decode()
    news, failure = told.news, told.news.failure
    kind, retry_s = (None, None) if failure is None else (failure.kind.value, failure.retry_after_s)
    return orjson.dumps(["ended", by, *place, kind, retry_s, news.die, news.is_probe]).decode()


def read(line: str) -> tuple[str, Told] | None:
    """Give who said it, and what; ``None``: it cannot be read."""
    try:
        match orjson.loads(line):
            case ["forgiven", str(by), str(channel)]:
                return by, Forgiven(channel=channel)
            case ["took", str(by), str(channel), str(row), str(size), float(seconds)]:
                return by, Took(target=TargetId(channel, row), size=size, seconds=seconds)
            case ["ended", str(by), str(channel), str(row), kind, retry_s, float(die), bool(is_probe)]:
                news = News(failure=_failure(kind, retry_s), die=die, is_probe=is_probe)
                return by, Ended(target=TargetId(channel, row), news=news)
            case _:
                return None
    except (orjson.JSONDecodeError, ValueError):
        return None


def _failure(kind: object, retry_s: object) -> Failure | None:
    """Give as much of a failure as health looks at. Raises ``ValueError`` for a class this version does not know."""
    if kind is None:
        return None
    return Failure(
        kind=FailureClass(str(kind)),
        detail="",
        outcome=Outcome.UNKNOWN,
        fault=Fault.UPSTREAM,
        action=Action.STOP,
        retry_after_s=float(retry_s) if isinstance(retry_s, float | int) else None,
    )
