"""Whether a form may be sent on while it still arrives, and whether what was sent so begins what is to be sent.

Rules: only where one target is left and nothing is wrong with it, so that no form goes to somebody who is not asked;
never for a key that pays, since what it may cost is not known before the form is whole, and who cannot pay has nothing
sent for him. What was sent ahead is of use for exactly those bytes; anything else is sent afresh. Must never look at
a clock, and never take a call that was cut for one that was made.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from msgspec import Struct

from gateway.core.agreement import Agreement
from gateway.core.health import standing
from gateway.core.plan import Target
from gateway.core.splices import in_order, length_after
from gateway.core.table import Channel
from gateway.core.types import Directives, Splice, Wire
from gateway.core.view import View

LEAST: Final = 64 * 1024  # bytes that are worth a call
_OF_THE_MOMENT: Final = (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS)


class Sketch(Struct, frozen=True, kw_only=True):
    """A call as its bytes will say it. ``splices`` are all changes to the caller's body, ``length`` what goes out."""

    channel: Channel
    wire: Wire
    splices: tuple[Splice, ...]
    length: int


def sketch(channel: Channel, wire: Wire, splices: Sequence[Splice], length: int) -> Sketch:
    """Draw a call whose body has ``length`` bytes before it is changed."""
    return Sketch(
        channel=channel,
        wire=wire,
        splices=in_order(splices),
        length=length_after(length, splices),
    )


def asks_anew(directives: Directives) -> bool:
    """Whether nothing says that this was asked before, or that nobody waits for it."""
    return not (directives.is_retry or directives.flight or directives.respond_async)


def lone_target(agreed: Agreement, view: View) -> Target | None:
    """Give the one target that is left, if it is well and costs the key nothing; ``None``: nothing is sent ahead."""
    targets = agreed.plan.targets
    if len(targets) != 1 or agreed.credits is not None or agreed.micro is not None:
        return None
    stand = standing(view.health, targets[0].id, view.now)
    return None if targets[0].is_kept or stand.bars or stand.is_probe else targets[0]


class Start(Struct, frozen=True, kw_only=True):
    """What an attempt had sent of its body when it began: so many bytes, the first of them so long before."""

    bytes: int
    ms: float


class Sent(Struct, frozen=True, kw_only=True):
    """How far a sketch was sent: ``at`` in the caller's body, with the first ``made`` changes made in full."""

    sketch: Sketch
    at: int
    made: int


def begins(sent: Sent, whole: Sketch) -> bool:
    """Whether what was sent is, byte for byte, how the whole begins."""
    begun, made = sent.sketch, sent.made
    if (begun.channel, begun.length) != (whole.channel, whole.length) or _head(begun.wire) != _head(whole.wire):
        return False
    is_same = begun.splices[:made] == whole.splices[:made]
    return is_same and all(one.start >= sent.at for one in whole.splices[made:])


def stands(status: int) -> bool:
    """Whether an answer that came before the form's end answers the form, and not how long it took.

    What says no to a part of the form says no to all of it, and nothing is asked twice that may have been bought. A
    peer that waited too long, that had too much to do just then, or that failed, has judged the moment and not the
    form, and cannot have carried out half of one.
    """
    return status < HTTPStatus.INTERNAL_SERVER_ERROR and status not in _OF_THE_MOMENT


def _head(wire: Wire) -> tuple[str, str, tuple[tuple[str, str], ...]]:
    return wire.method, wire.path, wire.headers
