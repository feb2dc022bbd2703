"""A plan: which targets a request may try, in order, and how each of them will be asked.

Values only; ``core/policy`` makes a plan and ``core/walk`` follows it.
"""

from msgspec import Struct

from gateway.core.health import TargetId
from gateway.core.money import Cost
from gateway.core.table import Channel, Route, RouteTable, Row
from gateway.core.terms import OPEN_CONTRACT, Contract
from gateway.core.translation import Change
from gateway.core.types import Excluded, Facts


class Target(Struct, frozen=True, kw_only=True):
    """One target as it will be asked: the words on the wire, and how long one attempt may take (seconds).

    ``is_kept``: strikes would have it out, but no other target is well. ``is_bound``: it alone keeps what is asked for.
    ``contract`` is that of the pictures; ``facts`` the request in its words, ``changes`` how they differ from the
    caller's. ``is_doubtful``: the contract forbids something, and only advises. ``translated_model``: a dead name was
    asked for, as the model or as the tool's. ``quote``: what the attempt may cost at most, where the route looks at it.
    ``is_unverified``: it was pinned before a smoke run of it has passed.
    """

    channel: Channel
    row: Row
    sent_model: str
    tool_sent_model: str | None
    patience_s: float
    substitute: bool = False
    is_kept: bool = False
    is_bound: bool = False
    contract: Contract = OPEN_CONTRACT
    facts: Facts | None = None
    changes: tuple[Change, ...] = ()
    is_doubtful: bool = False
    translated_model: bool = False
    quote: Cost | None = None
    is_unverified: bool = False

    @property
    def name(self) -> str:
        """``channel/row``."""
        return f"{self.channel.name}/{self.row.name}"

    @property
    def id(self) -> TargetId:
        """The target as health knows it."""
        return TargetId(self.channel.name, self.row.name)


class Plan(Struct, frozen=True, kw_only=True):
    """What may be tried, in order, and what may not. ``asked_model`` is the route's name when the body named none.

    ``facts`` are the caller's, ``table`` is what was planned with: what a step down is worked out from.
    """

    route: Route
    asked_model: str
    facts: Facts
    table: RouteTable
    targets: tuple[Target, ...]
    excluded: tuple[Excluded, ...]
    max_attempts: int
    deadline_s: float
    rule: int | None = None  # place of the ``when`` rule that narrowed the targets
