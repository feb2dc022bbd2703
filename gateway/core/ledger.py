"""What a key owns and owes: entries between four accounts, and the states a request's money goes through.

Every entry takes an amount from one account and puts it into another, so the four always add up to nothing:

    grant     issued    -> available     the operator adds credits
    hold      available -> held          before anything is sent: the worst case
    capture   held      -> spent         for what was delivered
    void      held      -> available     the rest, all of it when nothing was delivered

An entry is named by its request, its kind and its attempt; the same name again changes nothing. No account but
``issued`` is ever below zero: a hold that ``available`` does not cover is refused, as a value. A capture is never more
than what is held: what came dearer than was foreseen is held first, as far as the balance goes (``closing``).

A budget of money is kept by the same entries in its own currency; there ``available`` is what is left of the window,
and money that was spent is written down whatever was foreseen.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from msgspec import Struct, field
from msgspec.structs import replace

CREDITS: Final = "credits"  # the unit of an entry that is not money


class Account(StrEnum):
    """Where an amount can be."""

    ISSUED = "issued"
    AVAILABLE = "available"
    HELD = "held"
    SPENT = "spent"


class Kind(StrEnum):
    """What an entry does."""

    GRANT = "grant"
    HOLD = "hold"
    CAPTURE = "capture"
    VOID = "void"


POSTINGS: Final[Mapping[Kind, tuple[Account, Account]]] = MappingProxyType(
    {
        Kind.GRANT: (Account.ISSUED, Account.AVAILABLE),
        Kind.HOLD: (Account.AVAILABLE, Account.HELD),
        Kind.CAPTURE: (Account.HELD, Account.SPENT),
        Kind.VOID: (Account.HELD, Account.AVAILABLE),
    }
)


class Shortage(StrEnum):
    """Why a hold was refused."""

    CREDITS = "credits"
    BUDGET = "budget"
    KEY = "key"  # it was revoked in the meantime


class Short(Struct, frozen=True, kw_only=True):
    """A hold that was refused. ``left``: of the credits, or of the budget, in its own unit; absent of a bad key."""

    why: Shortage
    left: int | None = None


class EntryName(Struct, frozen=True, kw_only=True):
    """What an entry is about; there is one of each."""

    request: str
    kind: Kind
    attempt: int = 0


class Book(Struct, frozen=True, kw_only=True):
    """The accounts of one key in one unit, and the entries that made them."""

    accounts: Mapping[Account, int] = field(default_factory=lambda: dict.fromkeys(Account, 0))
    entries: Mapping[EntryName, int] = field(default_factory=dict)

    def open_hold(self, request: str) -> int:
        """Give what is held for a request and was neither captured nor voided."""
        signs = {Kind.HOLD: 1, Kind.CAPTURE: -1, Kind.VOID: -1}
        return sum(signs.get(name.kind, 0) * sum_ for name, sum_ in self.entries.items() if name.request == request)


class Closing(Struct, frozen=True, kw_only=True):
    """How a request's holds end: ``more`` is held besides, then ``captured`` is spent and ``voided`` given back."""

    captured: int
    voided: int
    more: int = 0


def post(book: Book, name: EntryName, amount: int) -> Book | Shortage:
    """Write an entry; ``amount`` is not negative. One that stands already changes nothing."""
    if name in book.entries:
        return book
    source, target = POSTINGS[name.kind]
    if source is not Account.ISSUED and book.accounts[source] < amount:
        return Shortage.CREDITS
    moved = {source: book.accounts[source] - amount, target: book.accounts[target] + amount}
    return replace(book, accounts={**book.accounts, **moved}, entries={**book.entries, name: amount})


def closing(held: int, owed: int, available: int) -> Closing:
    """Say how holds of credits end when ``owed`` is to be charged; never more than the key has."""
    more = min(max(0, owed - held), max(0, available))
    captured = min(owed, held + more)
    return Closing(captured=captured, voided=held + more - captured, more=more)


def closing_money(held: int, owed: int | None) -> Closing:
    """Say how holds of a budget end: what was spent is spent, and what is not known counts as what was foreseen."""
    spent = held if owed is None else owed
    return Closing(captured=spent, voided=max(0, held - spent))
