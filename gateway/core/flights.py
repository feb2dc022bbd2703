"""What a flight is: a request that was, or will be, sent for, apart from the client that asked for it.

    held -> sent -> delivered     a client has its answer
                 -> refused       nothing was bought, and the error says why
                 -> late          bought, and no client has it yet
                 -> lost          money may be gone, and there is no answer

Rules: pure. A client that comes back finds its flight by its Idempotency-Key, else by the flight's id, else by being
the same caller who sends the same bytes to the same surface again. The last of these finds only what no client has:
whoever sends the same request twice on purpose gets two answers, and one answer serves one who comes back.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, NewType

from msgspec import Struct

from gateway.core.principal import Principal
from gateway.core.types import Directives, Facts, Outcome

FLIGHT: Final = "fl"  # the prefix of an id

ADOPTION_S: Final = 900.0  # how long the same bytes find what no client has
RETENTION_S: Final = 86_400.0  # how long an answer is given again for its Idempotency-Key
CLIENT_WINDOW_S: Final = 90.0  # middle boxes cut connections that are silent for 100 seconds, some for 60
RETURN_S: Final = 30.0  # after a 503 ``in_progress``: how long a client may stay away before it has left
MOST_WAITING: Final = 1_000  # clients that wait for one flight

FlightId = NewType("FlightId", str)
Route = tuple[str, str]  # the caller's scope, and the surface


class FlightState(StrEnum):
    """How far a flight is (module docstring)."""

    HELD = "held"
    SENT = "sent"
    DELIVERED = "delivered"
    REFUSED = "refused"
    LATE = "late"
    LOST = "lost"

    @property
    def is_aloft(self) -> bool:
        """Whether its end is still to come."""
        return self in (FlightState.HELD, FlightState.SENT)


class Match(StrEnum):
    """What a request is to a flight that has its Idempotency-Key."""

    SAME = "same"
    OTHER_BODY = "other_body"


class Trait(Struct, frozen=True, kw_only=True):
    """What two requests that are the same have in common, as far as it is known without reading the body again."""

    scope: str
    endpoint: str
    asked_model: str | None
    prompt_hash: str | None
    stream: bool
    pin: str | None
    fallback: bool
    query: str


def trait_of(principal: Principal, facts: Facts, directives: Directives, query: str) -> Trait:
    """Give what has to be equal before it is worth while to compare bodies."""
    return Trait(
        scope=principal.scope,
        endpoint=facts.endpoint,
        asked_model=facts.asked_model,
        prompt_hash=facts.prompt_hash,
        stream=facts.stream,
        pin=directives.pin,
        fallback=directives.fallback,
        query=query,
    )


def is_bought(outcomes: Iterable[Outcome]) -> bool:
    """Whether money may be gone: such an end is kept, any other leaves nothing behind."""
    return any(outcome in (Outcome.DELIVERED, Outcome.UNKNOWN) for outcome in outcomes)


def landed(outcomes: Sequence[Outcome], *, is_answered: bool, is_told: bool) -> FlightState:
    """Say how a flight ended. ``is_answered``: there is an answer to give; ``is_told``: a client has it."""
    if not is_bought(outcomes):
        return FlightState.DELIVERED if is_answered and is_told else FlightState.REFUSED
    if not is_answered:
        return FlightState.LOST
    return FlightState.DELIVERED if is_told else FlightState.LATE


def window(stated_s: float | None, *, is_local: bool) -> float | None:
    """Give the seconds that a client waits at most; ``None``: no bound. ``stated_s``: as the file says, 0 for off.

    A client that reaches the gateway without a network between has nobody who cuts its connection.
    """
    if stated_s is None:
        return None if is_local else CLIENT_WINDOW_S
    return stated_s or None
