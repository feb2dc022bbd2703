"""What was spent, by owner, channel, model, key, team or day: counts and sums of the ledger, brought together.

Pure: the ledger's own groups go in (requests on one side, attempts on the other), one row for each group comes out.
Money belongs to whom an attempt was sent to, requests to who served them at last. Rules: amounts of two currencies, two
units or two states stand beside each other and are never added; credits are no currency and stand alone; what an
attempt that delivered nothing cost is ``waste``; an attempt whose cost is missing is counted as such and never as zero.

What flights saved and lost is told of the request that bought: ``rescued`` pictures were given to a client after
another had left, and ``lost`` requests may have been paid for and have no answer; with all that their attempts cost.

What one accepted picture cost is all money of the group, failed attempts included, over the pictures that were
accepted: only where there is one currency.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from fractions import Fraction

from msgspec import Struct, field

from gateway.core.money import NO_UNIT, CostState, rounded
from gateway.core.types import JsonObject, Outcome

Group = tuple[str | None, ...]

FREE = frozenset({Outcome.NOT_SENT.value, Outcome.REFUSED.value})  # outcomes that cost nothing


class Dimension(StrEnum):
    """What usage may be grouped by; the value is the name of the flat key in a row."""

    OWNER = "owner"
    CHANNEL = "channel"
    MODEL = "model"
    KEY = "key"
    TEAM = "team"
    DAY = "day"


class UsageQuery(Struct, frozen=True, kw_only=True):
    """What to group by, in order, and from when until when (aware; ``until`` itself is left out)."""

    by: tuple[Dimension, ...]
    since: datetime | None = None
    until: datetime | None = None


class Served(Struct, frozen=True, kw_only=True):
    """Requests of one group, as the ledger counts them. ``delivered``: ended with a status below 400.

    ``images`` were delivered; ``accepted`` and ``rejected`` are pictures that somebody looked at; ``rescued`` are
    pictures, ``lost`` requests.
    """

    group: Group
    requests: int
    delivered: int
    images: int
    accepted: int = 0
    rejected: int = 0
    credits: int = 0
    rescued: int = 0
    lost: int = 0


class Spent(Struct, frozen=True, kw_only=True):
    """Attempts of one group that are alike. ``state`` absent: the ledger holds no cost of them.

    ``missing``: requests of which the first attempt without a known cost is among them.
    """

    group: Group
    attempts: int
    missing: int
    outcome: str
    unit: str | None
    currency: str | None
    state: str | None
    amount_micro: int
    exposure_micro: int
    rescued_micro: int = 0
    lost_micro: int = 0


class Sum(Struct, frozen=True, kw_only=True):
    """Money of one unit, currency and state. ``exposure_micro`` is the part of it that may not be owed."""

    unit: str
    currency: str
    state: CostState
    amount_micro: int
    exposure_micro: int

    def as_json(self) -> JsonObject:
        """Give the sum with the interface's names."""
        return {
            "unit": self.unit,
            "currency": self.currency,
            "amount_micro": self.amount_micro,
            "state": self.state.value,
            "exposure_micro": self.exposure_micro,
        }


class Usage(Struct, frozen=True, kw_only=True):
    """One group. ``missing`` counts requests with an attempt whose cost is not known.

    By currency: ``waste``, what came to nothing; ``saved`` and ``gone``, what was paid for ``rescued`` and ``lost``.
    """

    group: Group
    requests: int
    delivered: int
    images: int
    accepted: int
    rejected: int
    credits: int
    attempts: int
    cost: tuple[Sum, ...]
    waste: Mapping[str, int]
    missing: int
    rescued: int = 0
    lost: int = 0
    saved: Mapping[str, int] = field(default_factory=dict)
    gone: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        """Requests that did not end well."""
        return self.requests - self.delivered

    @property
    def waste_micro(self) -> int | None:
        """What was wasted; ``None`` when it is of two currencies."""
        return _one(self.waste)

    @property
    def rescued_micro(self) -> int | None:
        """What the rescued pictures had cost; ``None`` when it is of two currencies."""
        return _one(self.saved)

    @property
    def lost_micro(self) -> int | None:
        """What may be paid for lost requests; ``None`` when it is of two currencies."""
        return _one(self.gone)

    @property
    def currency(self) -> str | None:
        """The one currency of the group's money; ``None`` when there are two, or none."""
        currencies = {one.currency for one in self.cost}
        return next(iter(currencies)) if len(currencies) == 1 else None

    @property
    def per_accepted_micro(self) -> int | None:
        """What an accepted picture cost; ``None`` without one, or without one currency."""
        if not self.accepted or self.currency is None:
            return None
        return rounded(Fraction(sum(one.amount_micro for one in self.cost), self.accepted))

    def as_json(self, by: Sequence[Dimension]) -> JsonObject:
        """Give the row with flat group keys; ``null`` where there is no one figure."""
        per_accepted = self.per_accepted_micro
        return {
            **dict(zip((one.value for one in by), self.group, strict=True)),
            "requests": self.requests,
            "images": self.images,
            "delivered": self.delivered,
            "accepted": self.accepted,
            "rejected": self.rejected,
            "failed": self.failed,
            "attempts": self.attempts,
            "cost": [one.as_json() for one in self.cost],
            "waste_micro": self.waste_micro,
            "cost_per_accepted_micro": per_accepted,
            "cost_per_accepted_currency": None if per_accepted is None else self.currency,
            "credits": self.credits,
            "missing_price_requests": self.missing,
            "rescued_images": self.rescued,
            "rescued_micro": self.rescued_micro,
            "lost_requests": self.lost,
            "lost_micro": self.lost_micro,
        }


class _Tally(Struct):
    requests: int = 0
    delivered: int = 0
    images: int = 0
    accepted: int = 0
    rejected: int = 0
    credits: int = 0
    attempts: int = 0
    missing: int = 0
    rescued: int = 0
    lost: int = 0
    sums: dict[tuple[str, str, CostState], tuple[int, int]] = field(default_factory=dict)
    waste: dict[str, int] = field(default_factory=dict)
    saved: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)

    def serve(self, served: Served) -> None:
        """Take requests in."""
        self.requests += served.requests
        self.delivered += served.delivered
        self.images += served.images
        self.accepted += served.accepted
        self.rejected += served.rejected
        self.credits += served.credits
        self.rescued += served.rescued
        self.lost += served.lost

    def pay(self, spent: Spent) -> None:
        """Take attempts in."""
        self.attempts += spent.attempts
        self.missing += spent.missing
        state = CostState(spent.state) if spent.state is not None else _unwritten(spent)
        if state is CostState.MISSING:
            return
        if not spent.amount_micro and spent.unit in {None, NO_UNIT}:
            return  # refused or never sent
        currency = spent.currency or ""
        key = (spent.unit or NO_UNIT, currency, state)
        amount, exposure = self.sums.get(key, (0, 0))
        self.sums[key] = (amount + spent.amount_micro, exposure + spent.exposure_micro)
        if spent.outcome != Outcome.DELIVERED:
            _add(self.waste, currency, spent.amount_micro)
        if spent.rescued_micro:
            _add(self.saved, currency, spent.rescued_micro)
        if spent.lost_micro:
            _add(self.gone, currency, spent.lost_micro)


def _add(sums: dict[str, int], currency: str, micro: int) -> None:
    sums[currency] = sums.get(currency, 0) + micro


def _one(sums: Mapping[str, int]) -> int | None:
    return sum(sums.values()) if len(sums) < 2 else None


def usage(served: Iterable[Served], spent: Iterable[Spent]) -> list[Usage]:
    """Bring both sides together; groups in order, what belongs to none (``None``) last."""
    tallies: dict[Group, _Tally] = {}
    for one in served:
        tallies.setdefault(one.group, _Tally()).serve(one)
    for each in spent:
        tallies.setdefault(each.group, _Tally()).pay(each)
    return [_row(group, tallies[group]) for group in sorted(tallies, key=_order)]


def _unwritten(spent: Spent) -> CostState:
    """Judge attempts without a written cost: those of a ledger older than costs, and of a server that was killed."""
    return CostState.EXACT if spent.outcome in FREE else CostState.MISSING


def _row(group: Group, tally: _Tally) -> Usage:
    sums = tuple(
        Sum(unit=unit, currency=currency, state=state, amount_micro=amount, exposure_micro=exposure)
        for (unit, currency, state), (amount, exposure) in sorted(tally.sums.items())
    )
    return Usage(
        group=group,
        requests=tally.requests,
        delivered=tally.delivered,
        images=tally.images,
        accepted=tally.accepted,
        rejected=tally.rejected,
        credits=tally.credits,
        attempts=tally.attempts,
        cost=sums,
        waste=tally.waste,
        missing=tally.missing,
        rescued=tally.rescued,
        lost=tally.lost,
        saved=tally.saved,
        gone=tally.gone,
    )


def _order(group: Group) -> list[tuple[bool, str]]:
    return [(word is None, word or "") for word in group]
