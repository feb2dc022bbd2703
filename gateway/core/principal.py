"""Who asks: a virtual key and what it may do, or nobody in particular while the gateway is open.

Rules: a principal is decided once, at the door, and goes with the request; what is kept for one key (ids, pictures,
flights) is looked up under ``scope`` and never filtered afterwards. It never holds the key itself.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from msgspec import Struct

NO_KEY: Final = ""  # the scope of requests without a key


class KeyScope(StrEnum):
    """What a key opens: ``use`` the models, ``admin`` the operator's calls."""

    USE = "use"
    ADMIN = "admin"


class KeyLimits(Struct, frozen=True, kw_only=True):
    """What a key may ask for in any minute, and at the same time; absent: as much as it likes."""

    requests_per_minute: int | None = None
    images_per_minute: int | None = None
    at_once: int | None = None


NO_LIMITS: Final = KeyLimits()


class Budget(Struct, frozen=True, kw_only=True):
    """Money that a key may spend in a window of time. Windows follow each other from ``since`` on."""

    amount_micro: int
    currency: str
    window_s: int
    since: datetime

    def window(self, now: datetime) -> int:
        """Give the number of the window that a moment falls in."""
        return max(0, (now - self.since) // timedelta(seconds=self.window_s))

    def ends(self, window: int) -> datetime:
        """Give the moment at which a window is over."""
        return self.since + (window + 1) * timedelta(seconds=self.window_s)


class Principal(Struct, frozen=True, kw_only=True):
    """The caller of one request. ``key_id`` is absent while the gateway is open.

    ``models``: the routes it may use; absent: all. ``tags`` go with each of its requests. ``keeps``: whether
    its pictures are kept, where the route keeps them.
    """

    key_id: str | None = None
    team: str | None = None
    name: str | None = None
    models: frozenset[str] | None = None
    scopes: frozenset[KeyScope] = frozenset({KeyScope.USE})
    limits: KeyLimits = NO_LIMITS
    budget: Budget | None = None
    tags: tuple[tuple[str, str], ...] = ()
    keeps: bool = True

    @property
    def scope(self) -> str:
        """What belongs to this caller alone is kept under this word."""
        return NO_KEY if self.key_id is None else self.key_id

    def may_use(self, route: str) -> bool:
        """Whether a route is one of those that the caller may use."""
        return self.models is None or route in self.models


ANYONE: Final = Principal()
