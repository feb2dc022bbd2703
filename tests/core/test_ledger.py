"""The books of a key: what no sequence of holds, captures, voids, crashes and duplicates can break."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import hypothesis.strategies as st
import pytest
from hypothesis import given, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from gateway.core.ledger import (
    POSTINGS,
    Account,
    Book,
    Closing,
    EntryName,
    Kind,
    Shortage,
    closing,
    closing_money,
    post,
)

AMOUNTS = st.integers(min_value=0, max_value=50)


@dataclass(eq=False)
class Books(RuleBasedStateMachine):
    """One key, many requests; a crash forgets what was under way, and the clock ends it."""

    book: Book = field(default_factory=Book)
    under_way: dict[str, int] = field(default_factory=dict)
    forgotten: dict[str, int] = field(default_factory=dict)
    charged: int = 0
    granted: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        super().__init__()

    def write(self, request: str, kind: Kind, amount: int) -> bool:
        found = post(self.book, EntryName(request=request, kind=kind), amount)
        if isinstance(found, Shortage):
            return False
        self.book = found
        return True

    def close(self, request: str, owed: int) -> int:
        held = self.book.open_hold(request)
        end = closing(held, owed, 0)
        assert self.write(request, Kind.CAPTURE, end.captured)
        assert self.write(request, Kind.VOID, end.voided)
        return end.captured

    @rule(amount=AMOUNTS)
    def grant(self, amount: int) -> None:
        self.number += 1
        assert self.write(f"grt_{self.number}", Kind.GRANT, amount)
        self.granted += amount

    @rule(amount=AMOUNTS)
    def begin(self, amount: int) -> None:
        self.number += 1
        before = self.book.accounts[Account.AVAILABLE]
        taken = self.write(f"req_{self.number}", Kind.HOLD, amount)
        assert taken is (amount <= before)
        if taken:
            self.under_way[f"req_{self.number}"] = amount

    @precondition(lambda self: self.under_way)
    @rule(data=st.data(), owed=AMOUNTS)
    def settle(self, data: st.DataObject, owed: int) -> None:
        request = data.draw(st.sampled_from(sorted(self.under_way)))
        held = self.under_way.pop(request)
        captured = self.close(request, owed)
        assert captured == min(owed, held)
        self.charged += captured
        before = self.book
        self.close(request, owed)  # the settlement comes again
        assert self.write(request, Kind.HOLD, held)  # and so does the begin
        assert self.book == before

    @precondition(lambda self: self.under_way)
    @rule()
    def crash(self) -> None:
        self.forgotten.update(self.under_way)
        self.under_way.clear()

    @precondition(lambda self: self.forgotten)
    @rule()
    def clock(self) -> None:
        for request in self.forgotten:
            assert self.close(request, 0) == 0
        self.forgotten.clear()

    @invariant()
    def nothing_is_made_or_lost(self) -> None:
        accounts = self.book.accounts
        assert sum(accounts.values()) == 0
        assert all(sum_ >= 0 for account, sum_ in accounts.items() if account is not Account.ISSUED)
        assert accounts[Account.ISSUED] == -self.granted
        assert accounts[Account.SPENT] == self.charged
        assert accounts[Account.HELD] == sum(self.under_way.values()) + sum(self.forgotten.values())


TestBooks = Books.TestCase
TestBooks.settings = settings(max_examples=200, stateful_step_count=30, deadline=None)


@given(held=AMOUNTS, owed=AMOUNTS, available=AMOUNTS)
@settings(max_examples=200)
def test_a_closing_adds_up_and_never_takes_what_is_not_there(held: int, owed: int, available: int) -> None:
    end = closing(held, owed, available)
    assert end.captured + end.voided == held + end.more
    assert 0 <= end.more <= available
    assert 0 <= end.captured <= owed
    assert end.voided >= 0
    assert end.captured == min(owed, held + available)


@pytest.mark.parametrize(
    ("held", "owed", "end"),
    [
        (10, 4, Closing(captured=4, voided=6)),
        (10, None, Closing(captured=10, voided=0)),
        (10, 0, Closing(captured=0, voided=10)),
        (10, 12, Closing(captured=12, voided=0)),
    ],
)
def test_money_that_was_spent_is_spent(held: int, owed: int | None, end: Closing) -> None:
    assert closing_money(held, owed) == end


def test_every_kind_moves_from_one_account_to_another() -> None:
    postings: Mapping[Kind, tuple[Account, Account]] = POSTINGS
    assert set(postings) == set(Kind)
    assert all(source is not target for source, target in postings.values())
