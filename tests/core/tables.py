"""Route tables for the tests of planning and walking: small, whole, and built the same way each time."""

from collections.abc import Iterable, Mapping

from gateway.core.plan import Plan
from gateway.core.policy import plan
from gateway.core.table import (
    Api,
    Channel,
    ChannelKind,
    Patience,
    Route,
    RouteTable,
    RouteTarget,
    Row,
    Secret,
    Timeouts,
)
from gateway.core.types import Directives, Facts, Surface
from tests.core.vectors import CODES

PICTURES = frozenset({Surface.GENERATIONS, Surface.EDITS})
TURNS = frozenset({Surface.RESPONSES})
PATIENCE = Patience(
    by_quality={"low": 180.0, "medium": 360.0, "high": 600.0},
    default_s=360.0,
    heavy_s=600.0,
    heavy_pixels=2_000_000,
    heavy_inputs=4,
    responses_s=600.0,
)


def row(name: str, model: str | None = None, serves: frozenset[Surface] = PICTURES) -> Row:
    return Row(name=name, model=model or name, serves=serves)


def channel(name: str, rows: Iterable[Row], unready: str | None = None, patience_s: float | None = None) -> Channel:
    return Channel(
        name=name,
        owner=f"{name} inc",
        kind=ChannelKind.DIRECT,
        api=Api.OPENAI,
        base_url=f"https://{name}.example/v1",
        host=f"{name}.example",
        rows={each.name: each for each in rows},
        api_key=None if unready else Secret(f"sk-{name}-0123456789"),
        unready=unready,
        timeouts=Timeouts(patience_s=patience_s),
    )


def table(channels: Iterable[Channel], routes: Iterable[Route]) -> RouteTable:
    by_name: Mapping[str, Channel] = {each.name: each for each in channels}
    return RouteTable(
        version="v1",
        channels=by_name,
        routes={each.name: each for each in routes},
        patience=PATIENCE,
        codes=CODES,
    )


def three_channels(route: Route) -> RouteTable:
    names = ("a", "b", "c")
    return table([channel(name, [row("m", f"m-at-{name}")]) for name in names], [route])


def three_targets() -> tuple[RouteTarget, ...]:
    return tuple(RouteTarget(channel=name, row="m") for name in ("a", "b", "c"))


def planned(route: Route, *, fallback: bool = True, quality: str = "high") -> Plan:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="m", quality=quality)
    found = plan(facts, Directives(fallback=fallback), three_channels(route))
    assert isinstance(found, Plan)
    return found
