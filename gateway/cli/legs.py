"""One small request down one channel of a running gateway, and what is seen of it.

The request is pinned and has one attempt, so what is seen is that channel's. Afterwards the gateway's own record of it
is held against what came.
"""

from collections.abc import Iterator, Mapping
from statistics import median
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from gateway.cli.client import Unreached
from gateway.cli.commission import Commission
from gateway.cli.delivery import Delivery, Picture, items, kinds, member, text
from gateway.cli.likeness import Pixels, read_pixels
from gateway.cli.obtaining import Desk
from gateway.cli.records import Records
from gateway.cli.sidecar import cost_told, warnings_told
from gateway.core.types import ImageFacts, JsonObject, JsonValue

RECORD_UNREADABLE = "not to be had: it needs the operator's key"
DEPTH = 6
_Paths: TypeAlias = Iterator[str]


class Leg(Struct, frozen=True, kw_only=True):
    """What is asked of whom. ``name`` tells the surface, and whether it streams."""

    channel: str
    asked: Commission

    @property
    def name(self) -> str:
        """The step that legs of several channels have in common."""
        return f"{self.asked.surface}{', streamed' if self.asked.stream else ''}"


class Seen(Struct, frozen=True, kw_only=True):
    """What one request showed. ``status`` is absent when no answer came; ``record`` lists what is wrong with it."""

    took_s: float = 0.0
    status: int | None = None
    failure: str = ""
    request_id: str | None = None
    shape: frozenset[str] = frozenset()
    events: tuple[str, ...] = ()
    pictures: tuple[ImageFacts, ...] = ()
    pixels: tuple[Pixels | None, ...] = ()
    usage: JsonObject | None = None
    served: str = "unverified"
    warnings: tuple[str, ...] = ()
    cost: JsonObject | None = None
    record: tuple[str, ...] = ()
    attempts: int = 0
    config_version: str | None = None


class Walked(Struct, frozen=True, kw_only=True):
    """A leg and what each of its runs showed."""

    leg: Leg
    seen: tuple[Seen, ...]

    @property
    def took_s(self) -> float:
        """How long a run took, in the middle."""
        return median(one.took_s for one in self.seen)


def walk(leg: Leg, desk: Desk, records: Records) -> Seen:
    """Send one request down its leg."""
    pinned = replace(desk, headers={**desk.headers, "x-route-pin": leg.channel, "x-route-fallback": "off"})
    got = pinned.obtain(leg.asked)
    if isinstance(got, Unreached):
        return Seen(failure=f"no answer: {got.why}")
    if got.links and not got.pictures:
        got = _with_links(pinned, got)
    record = records.find(got.request_id) if got.request_id else None
    complaint = got.complaint
    said = "" if complaint is None else f"{complaint.code or complaint.type or 'no code'}: {complaint.message}"
    return Seen(
        took_s=got.took_s,
        status=got.status,
        failure=said,
        request_id=got.request_id,
        shape=frozenset(_paths(got.document)),
        events=tuple(kinds(got.events)),
        pictures=tuple(one.facts for one in got.pictures),
        pixels=tuple(read_pixels(one.data) for one in got.pictures),
        usage=got.usage,
        served=_served(got, record),
        warnings=tuple(warnings_told(got.headers.get("x-route-warnings", ""))) or _words(record, "result", "warnings"),
        cost=_cost(got, record),
        record=_doubts(leg, got, record),
        attempts=int(got.headers.get("x-route-attempts", "0")),
        config_version=text((record or {}).get("config_version")),
    )


def _with_links(desk: Desk, got: Delivery) -> Delivery:
    datas = [desk.picture_at(link) for link in got.links]
    return got.with_pictures(tuple(Picture.of(data) for data in datas if data), got.complaint)


def _served(got: Delivery, record: JsonObject | None) -> str:
    told = text(member(record or {}, "model_mapping", "served"))
    return told or text(got.document.get("model")) or "unverified"


def _cost(got: Delivery, record: JsonObject | None) -> JsonObject | None:
    told = (record or {}).get("cost")
    return told if isinstance(told, Mapping) else cost_told(got.headers.get("x-cost", ""))


def _words(record: JsonObject | None, *path: str) -> tuple[str, ...]:
    listed = member(record or {}, *path)
    return tuple(str(one) for one in listed) if isinstance(listed, list) else ()


def _doubts(leg: Leg, got: Delivery, record: JsonObject | None) -> tuple[str, ...]:
    """Say what of our own record is not what was seen."""
    if record is None:
        return (RECORD_UNREADABLE,)
    doubts = []
    attempts = items(record.get("attempts"))
    if record.get("channel") != leg.channel or len(attempts) != 1:
        doubts.append(f"{len(attempts)} attempts, served by {record.get('channel')}")
    if member(record, "result", "status") != got.status:
        doubts.append(f"status {member(record, 'result', 'status')}")
    recorded = [text(one.get("sha256")) for one in items(member(record, "result", "images"))]
    if recorded != [one.facts.sha256 for one in got.pictures]:
        doubts.append(f"{len(recorded)} pictures, and not those that came")
    if record.get("asked_model") != leg.asked.model:
        doubts.append(f"asked model {record.get('asked_model')}")
    return tuple(doubts)


def _paths(value: JsonValue, path: str = "", depth: int = 0) -> _Paths:
    """Give the names of all members, lists as ``[]``; what hangs below usage is compared by itself."""
    if depth > DEPTH:
        return
    if isinstance(value, Mapping):
        for name, held in value.items():
            below = f"{path}.{name}" if path else name
            yield below
            if name not in {"usage", "tool_usage", "tools", "metadata"}:
                yield from _paths(held, below, depth + 1)
    elif isinstance(value, list):
        for held in value:
            yield from _paths(held, f"{path}[]", depth + 1)
