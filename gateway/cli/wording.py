"""The machine's fixed words, said to people."""

from collections.abc import Iterable
from fractions import Fraction

from gateway.core.money import Cost, decimal
from gateway.core.prices import ImagePrice, MatrixPrice, Price, PriceUnit, ReportedPrice, RequestPrice
from gateway.core.table import Channel, Policy, Route, RouteTarget
from gateway.core.types import Surface

_SURFACES = {Surface.GENERATIONS: "generations", Surface.EDITS: "edits", Surface.RESPONSES: "responses"}
_REASONS = {
    "not_pinned": "the request pins another channel",
    "surface_not_served": "this row does not serve the surface",
    "tool_model_unavailable": "the image tool's model has no row on this channel",
    "sandbox_asleep": "asleep: a real target has a key, or the bind is not loopback",
    "bound_elsewhere": "another channel keeps what the request refers to",
    "not_verified": "no smoke run of it has passed on this surface",
    "max_cost": "it may cost more than the route allows",
    "no_price": "what it may cost is not known",
    "ruled_out": "a rule of the route sends this request to other targets",
    "channel_drained": "an operator drained its channel",
    "channel_off": "an operator turned its channel off",
    "channel_limit": "its channel's limits are used up",
    "ejected": "it failed again and again",
    "rate_limited": "its upstream said to wait",
    "quota_exhausted": "its account has no money",
    "key_rejected": "its key is not taken",
    "account_not_ready": "its account is not allowed to use the model",
    "model_missing": "its upstream does not have the model",
}


def counted(count: int, noun: str) -> str:
    """Say how many there are of something; the plural's ``s`` goes to the noun's first word."""
    first, space, rest = noun.partition(" ")
    return f"{count:,} {first}{'' if count == 1 else 's'}{space}{rest}"


def surfaces(served: Iterable[Surface]) -> str:
    """List surfaces in the order of the interface, without their common prefix."""
    held = frozenset(served)
    return ", ".join(word for surface, word in _SURFACES.items() if surface in held)


def about(channel: Channel) -> str:
    """Say whose channel it is and of which kind; once when both are one word."""
    who = channel.owner if channel.owner == channel.kind else f"{channel.owner}, {channel.kind}"
    return who if channel.group is None else f"{who}, group {channel.group}"


def reason(word: str, channel: Channel | None) -> str:
    """Say why a target of a channel is out."""
    return why(word, None if channel is None else channel.unready)


def why(word: str, unready: str | None) -> str:
    """Say why a target is out; a word that is not known is said as it is. ``unready``: what its channel lacks."""
    if word == "no_credentials" and unready is not None:
        return unready
    if word.startswith("contract:"):
        return f"its contract forbids what the request says of {word.partition(':')[2]}"
    return _REASONS.get(word, word.replace("_", " "))


def rank(target: RouteTarget, policy: Policy) -> str:
    """Say what of a target bears on when it is asked; nothing for most."""
    if target.substitute:
        return "  substitute"
    return f"  weight {target.weight}" if policy is Policy.WEIGHTED else ""


def limits(channel: Channel) -> str:
    """Say what may be asked of a channel."""
    held = channel.limits
    requests, images = (None if rate is None else rate.per_minute for rate in (held.requests, held.images))
    return rates(requests, images, channel.max_in_flight)


def rates(requests: int | None, images: int | None, at_once: int | None) -> str:
    """Say what may be asked in a minute and at once."""
    named = ((requests, "requests a minute"), (images, "pictures a minute"), (at_once, "at once"))
    return ", ".join(f"{bound} {what}" for bound, what in named if bound is not None)


def price(charged: Price | None) -> str:
    """Say what a row is charged: the name of a price of the catalog, or the price as it was written out."""
    if charged is None:
        return "no price"
    if not charged.id.startswith("row:"):
        return charged.id.partition("@")[0]
    match charged:
        case RequestPrice():
            return f"{amount(charged.amount)} {charged.currency} per request"
        case ImagePrice():
            return f"{amount(charged.amount)} {charged.currency} per picture"
        case MatrixPrice():
            return f"by size and quality, {charged.currency}"
        case ReportedPrice():
            return f"as reported, {charged.currency}"
        case _:
            return f"{'by ratio' if charged.unit is PriceUnit.RATIO else 'by token'}, {charged.currency}"


def cost(worst: Cost) -> str:
    """Say what something may cost at most, as far as that is known."""
    if worst.amount_micro is None or worst.currency is None:
        return "unknown"
    return f"{amount(Fraction(worst.amount_micro))} {worst.currency}"


def bounds(route: Route) -> list[str]:
    """Say what of a route bounds or lowers what is asked for, a line each."""
    ceiling = route.max_cost
    lines = [] if ceiling is None else [f"at most {amount(Fraction(ceiling.amount_micro))} {ceiling.currency}"]
    for step in route.downgrade:
        sets = ", ".join(f"{name} {text}" for name, text in step.sets)
        lines.append(f"after {step.on}: {sets}{'' if step.stays else ', next target'}")
    return lines


def amount(micro: Fraction) -> str:
    """Write an amount of micro-units without the zeros at its end."""
    whole, _, part = decimal(round(micro)).partition(".")
    return f"{whole}.{part}".rstrip("0").rstrip(".") if part.strip("0") else whole
