"""What a smoke run will ask of whom: the legs, why others are left out, and what all of it may cost.

The same planner as the server's decides over the same file, so that a request which its contract forbids is left out
before anything is spent.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.cli import terminal
from gateway.cli.commission import Commission, facts_of
from gateway.cli.legs import Leg
from gateway.cli.likeness import sample_mask, sample_picture
from gateway.cli.readiness import Readiness
from gateway.cli.wording import reason
from gateway.config.mistake import suggestion
from gateway.core.money import Cost, decimal
from gateway.core.plan import Plan
from gateway.core.policy import plan
from gateway.core.pricing import size_of
from gateway.core.purchase import quote_of
from gateway.core.table import ChannelKind, Route, RouteTable, RouteTarget, Row
from gateway.core.types import Directives, Facts, InputFacts, InputRole, Surface, ToolFacts

SIDE = 1024
ORDER = (Surface.GENERATIONS, Surface.EDITS, Surface.RESPONSES)


class Wanted(Struct, frozen=True, kw_only=True):
    """What the command line asks: the request to make, on which surfaces, and who is compared with whom."""

    asked: Commission
    surfaces: Sequence[Surface]
    baseline: str | None
    target: str | None
    runs: int
    has_mask: bool


class Priced(Struct, frozen=True, kw_only=True):
    """A leg, and what one run of it may cost; nothing for the sandbox."""

    leg: Leg
    cost: Cost | None


class SmokePlan(Struct, frozen=True, kw_only=True):
    """Who is compared with whom. ``skipped`` says of legs that are left out why."""

    route: Route
    baseline: RouteTarget | None
    targets: tuple[RouteTarget, ...]
    legs: tuple[Priced, ...]
    skipped: tuple[str, ...]

    def leg(self, channel: str, name: str) -> Leg | None:
        """Give a channel's leg of a step."""
        return next((one.leg for one in self.legs if one.leg.channel == channel and one.leg.name == name), None)


def lay_out(wanted: Wanted, ready: Readiness) -> SmokePlan:
    """Plan a smoke run, or end the command with what is wrong with the options."""
    table = ready.table
    model = wanted.asked.model or ""
    route = table.routes.get(model)
    if route is None:
        terminal.stop(f"there is no route {model!r}{suggestion(model, table.routes)}")
    baseline = _named(wanted.baseline, route) if wanted.baseline is not None else _direct(route, table)
    targets = (_named(wanted.target, route),) if wanted.target is not None else _usable(route)
    others = tuple(one for one in targets if one != baseline)
    if not others and baseline is not None:
        others, baseline = (baseline,), None
    if not others:
        terminal.stop(_none_ready(route, ready))
    legs, skipped = [], []
    for target in (*((baseline,) if baseline is not None else ()), *others):
        for found in _legs(target, wanted, table):
            if isinstance(found, str):
                skipped.append(found)
            else:
                legs.append(found)
    return SmokePlan(
        route=route, baseline=baseline, targets=others, legs=tuple(legs), skipped=tuple(dict.fromkeys(skipped))
    )


def bill(legs: Sequence[Priced], runs: int) -> list[str]:
    """Say what a run may cost, a line for each currency; none when no money is involved."""
    sums: dict[str, int] = {}
    unknown = 0
    for one in legs:
        if one.cost is None:
            continue
        if one.cost.amount_micro is None:
            unknown += runs
        else:
            currency = one.cost.currency or "USD"
            sums[currency] = sums.get(currency, 0) + runs * one.cost.amount_micro
    lines = [f"about {decimal(amount)} {currency} at most" for currency, amount in sums.items()]
    of = "one request" if unknown == 1 else f"{unknown} requests"
    return [*lines, f"{of} at a price that is not known"] if unknown else lines


def _legs(target: RouteTarget, wanted: Wanted, table: RouteTable) -> Iterator[Priced | str]:
    channel = table.channels[target.channel]
    row = channel.rows[target.row]
    for surface in ORDER:
        if surface not in (wanted.surfaces or row.serves):
            continue
        asked = _on(surface, wanted)
        planned = plan(_facts(asked), Directives(pin=channel.name, fallback=False), table)
        if not isinstance(planned, Plan):
            own = next((one.reason for one in planned.excluded if one.target == target.name), None)
            why = planned.message if own is None else reason(own, channel)
            yield f"{channel.name} is not asked on {surface}: {why}"
            continue
        is_free = channel.kind is ChannelKind.SANDBOX
        yield Priced(
            leg=Leg(channel=channel.name, asked=asked),
            cost=None if is_free else quote_of(planned.targets[0], planned.facts, table),
        )


def _on(surface: Surface, wanted: Wanted) -> Commission:
    """Make the request for one surface: pictures go along where pictures are changed."""
    asked = wanted.asked
    if surface is Surface.GENERATIONS:
        return replace(asked, surface=surface, images=(), mask=None)
    if surface is Surface.RESPONSES:
        return replace(asked, surface=surface, n=1, mask=None)
    images = asked.images or (sample_picture(*(size_of(asked.size) or (SIDE, SIDE))),)
    first = facts_of(images[0].data)
    mask = asked.mask
    if mask is None and wanted.has_mask:
        mask = sample_mask(first.width or SIDE, first.height or SIDE)
    return replace(asked, surface=surface, images=images, mask=mask)


def _facts(asked: Commission) -> Facts:
    """Say of a request what the server will read from it."""
    inputs = tuple(InputFacts(role=InputRole.IMAGE, source="upload", image=facts_of(one.data)) for one in asked.images)
    mask = asked.mask
    is_turn = asked.surface is Surface.RESPONSES
    return Facts(
        surface=asked.surface,
        asked_model=asked.model,
        stream=asked.stream,
        n=asked.n,
        size=asked.size,
        quality=asked.quality,
        background=asked.background,
        output_format=asked.output_format,
        partial_images=asked.partial_images if asked.stream else None,
        prompt_chars=len(asked.prompt),
        inputs=inputs,
        mask=None if mask is None else InputFacts(role=InputRole.MASK, source="upload", image=facts_of(mask.data)),
        tool=ToolFacts(asked_model=None, forced=True) if is_turn else None,
    )


def _none_ready(route: Route, ready: Readiness) -> str:
    lacks = dict.fromkeys(
        f"{target.channel}: {reason(target.unusable, ready.table.channels[target.channel])}"
        for target in route.targets
        if target.unusable is not None
    )
    where = "at the gateway" if ready.silence is None else "with what this shell has"
    silence = "" if ready.silence is None else f", and {ready.silence}"
    return f"no target of {route.name!r} is ready {where} ({'; '.join(lacks)}){silence}"


def _named(name: str, route: Route) -> RouteTarget:
    for target in route.targets:
        if target.channel == name:
            return target
    known = dict.fromkeys(target.channel for target in route.targets)
    return terminal.stop(f"the route {route.name!r} has no target on {name!r}{suggestion(name, known)}")


def _usable(route: Route) -> tuple[RouteTarget, ...]:
    return tuple(target for target in route.targets if target.unusable is None)


def _direct(route: Route, table: RouteTable) -> RouteTarget | None:
    """Give the first target that is the model's maker; then the others are compared with it."""
    found = (target for target in _usable(route) if table.channels[target.channel].kind is ChannelKind.DIRECT)
    return next(found, None)


def row_of(target: RouteTarget, table: RouteTable) -> Row:
    """Give the row that a target means."""
    return table.channels[target.channel].rows[target.row]
