"""The seam to the ledger: what is committed before an attempt is sent, and when its request is over."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final, Protocol

from msgspec import Struct

from gateway.core.assets import Asset
from gateway.core.money import Cost
from gateway.core.types import AttemptId, JsonObject, RequestId

LEDGER_WAIT_S: Final = 5.0  # what one request waits for the ledger before it is sent, in all
LEAST_WAIT_S: Final = 0.1  # what is tried at all is tried for so long


class AttemptIntent(Struct, frozen=True, kw_only=True):
    """An attempt about to be sent, written before its first byte goes out."""

    request_id: RequestId
    attempt_id: AttemptId
    n: int
    channel: str
    owner: str
    row: str
    surface: str
    region: str | None
    sent_model: str
    started: datetime
    quote: Cost | None = None  # what it may cost at most; stands in the ledger until the attempt has ended


class RequestIntent(Struct, frozen=True, kw_only=True):
    """A request that is about to buy something."""

    request_id: RequestId
    time: datetime
    endpoint: str
    asked_model: str | None
    config_version: str
    key_id: str | None = None
    team: str | None = None
    stream: bool = False
    body_hash: str | None = None  # of one that may buy a picture: who sends it again is to be known


class Hold(Struct, frozen=True, kw_only=True):
    """The worst case of a request, taken from its key before anything is sent. Absent: nothing of that kind.

    ``credits`` are the key's; ``micro`` is money of its budget, in ``currency``, in the window ``window_no``. What is
    not closed by ``expires`` is closed by the clock.
    """

    key_id: str
    expires: datetime
    credits: int | None = None
    micro: int | None = None
    currency: str | None = None
    window_no: int = 0


class Capture(Struct, frozen=True, kw_only=True):
    """What of a request's holds is owed; the rest goes back. ``micro`` absent: what was spent is not known."""

    credits: int
    micro: int | None


class AttemptResult(Struct, frozen=True, kw_only=True):
    """How an attempt ended. ``outcome`` is the word of ``core.types.Outcome``."""

    attempt_id: AttemptId
    outcome: str
    failure: str | None  # class, None when delivered
    detail: str | None
    status: int | None
    duration_ms: int
    cost: Cost | None = None


class Settlement(Struct, frozen=True, kw_only=True):
    """The end of a request: its record, and the outcome of every attempt, committed together."""

    request_id: RequestId
    time: datetime
    endpoint: str
    asked_model: str | None
    owner: str | None
    channel: str | None
    status: int
    failure: str | None  # class of the last failure when the request failed
    record: JsonObject
    attempts: Sequence[AttemptResult] = ()
    images: int = 0  # pictures that were delivered
    capture: Capture | None = None  # ends the holds of the request, if there are any
    assets: Sequence[Asset] = ()  # those of them that are kept


class LogQuery(Struct, frozen=True, kw_only=True):
    """A page of the ledger, newest first. ``before`` is the request id after which the page starts (keyset)."""

    failed: bool = False
    owner: str | None = None
    model: str | None = None
    limit: int = 50
    before: str | None = None
    after: str | None = None  # only requests newer than this id (for --follow)


class Refused(Struct, frozen=True, kw_only=True):
    """What the books say no to, as a value: nothing of the command was written. ``code`` is the client's word.

    ``left``: what there is of what was to be held, in its own unit: credits, or micro-units of the budget's currency.
    """

    code: str
    left: int | None = None


class LedgerUnavailable(Exception):
    """The ledger could not commit in time; new paid work is refused with 503 ``ledger_unavailable``."""


class LedgerWait(Struct, kw_only=True):
    """What one request has waited for the ledger so far, in seconds."""

    spent_s: float = 0.0

    @property
    def left_s(self) -> float:
        """How long it may wait now."""
        return max(LEAST_WAIT_S, LEDGER_WAIT_S - self.spent_s)


class Ledger(Protocol):
    """What was asked, sent and settled. Every method returns after its transaction committed."""

    async def begin(
        self,
        intent: RequestIntent | None,
        attempt: AttemptIntent,
        hold: Hold | None = None,
        within_s: float = LEDGER_WAIT_S,
    ) -> Refused | None:
        """Commit the intent (with the request on its first attempt), and what it holds of its key, or neither.

        A ``Refused`` says that the key cannot pay for it; nothing may be sent then. Raises ``LedgerUnavailable``.
        """
        ...

    async def settle(self, settlement: Settlement, within_s: float = LEDGER_WAIT_S) -> None:
        """Commit the end of a request, whether or not it ever began. Raises ``LedgerUnavailable``.

        It is committed as soon as it can be, also when nobody waits for it any more.
        """
        ...
