"""The seam to the ledger as it is read: requests by page, one request, and what they add up to.

Reading never waits for the writer and never holds it up. Every method raises ``LedgerUnavailable``.
"""

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import Protocol

from msgspec import Struct

from gateway.core.spend import Usage, UsageQuery
from gateway.core.types import JsonObject


class Standing(StrEnum):
    """How requests stand that have no status yet, or whose status is not what is asked for."""

    OPEN = "open"  # under way
    INTERRUPTED = "interrupted"  # the server that ran it ended without settling it
    FAILED = "failed"  # with a status of 400 and more, a failure, or interrupted


class RequestQuery(Struct, frozen=True, kw_only=True):
    """A page of requests, newest first: those that meet all that is not ``None``.

    ``failure``: the class of the last failure, or our own error's code. ``tags``: each ``name=value``, all of them.
    ``since`` and ``until``: aware, the latter left out. ``before``: the id after which the page starts.
    """

    owner: str | None = None
    channel: str | None = None
    model: str | None = None
    key: str | None = None
    failure: str | None = None
    status: int | None = None
    standing: Standing | None = None
    tags: tuple[str, ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    before: str | None = None


class RequestPage(Struct, frozen=True, kw_only=True):
    """Records, newest first. ``next``: the id that the next page starts after; ``None``: there is nothing more.

    A page looks at a bounded number of requests: it can hold fewer than were asked for, even none, and not be the last.
    """

    data: Sequence[JsonObject]
    next: str | None


class TooManyGroups(Exception):
    """What was asked for has more groups than anybody would read; ``most`` is how many there may be."""

    def __init__(self, most: int) -> None:
        super().__init__(f"more than {most} groups")
        self.most = most


class Readings(Protocol):
    """What an operator may ask of the ledger."""

    async def requests(self, query: RequestQuery) -> RequestPage:
        """Give a page of records; a request that was never settled stands in it in the same shape."""
        ...

    async def request(self, request_id: str) -> JsonObject | None:
        """Give one record; ``None``: there is none of this id."""
        ...

    async def usage(self, query: UsageQuery) -> Sequence[Usage]:
        """Sum up requests and attempts, by group. Raises ``TooManyGroups``."""
        ...
