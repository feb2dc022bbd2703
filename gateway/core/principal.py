"""Who asks: a virtual key and what it may do, or nobody in particular while the gateway is open.

Rules: a principal is decided once, at the door, and goes with the request; what is kept for one key (ids, pictures,
flights) is looked up under ``scope`` and never filtered afterwards. It never holds the key itself.
"""

from dataclasses import dataclass
from typing import Final

NO_KEY: Final = ""  # the scope of requests without a key


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """The caller of one request. ``key_id`` is absent while the gateway is open."""

    key_id: str | None = None
    team: str | None = None

    @property
    def scope(self) -> str:
        """What belongs to this caller alone is kept under this word."""
        return NO_KEY if self.key_id is None else self.key_id


ANYONE: Final = Principal()
