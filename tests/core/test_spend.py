"""Both sides of the ledger, brought together."""

from gateway.core.money import CostState
from gateway.core.spend import Dimension, Group, Served, Spent, Sum, Usage, usage


def spent(
    group: Group = ("openai",),
    micro: int = 0,
    state: str | None = "exact",
    outcome: str = "delivered",
    *,
    unit: str | None = "tokens",
    currency: str | None = "USD",
    exposure: int = 0,
) -> Spent:
    return Spent(
        group=group,
        attempts=2,
        requests=1,
        outcome=outcome,
        unit=unit,
        currency=currency,
        state=state,
        amount_micro=micro,
        exposure_micro=exposure,
    )


def one(*of: Spent) -> Usage:
    (row,) = usage([Served(group=("openai",), requests=3, delivered=2, images=4)], of)
    return row


def test_counts_and_money_of_a_group_stand_in_one_row() -> None:
    row = one(spent(micro=100), spent(micro=50, state="estimated", outcome="unknown", exposure=50))
    assert (row.requests, row.delivered, row.failed, row.images, row.attempts, row.missing) == (3, 2, 1, 4, 4, 0)
    assert row.cost == (
        Sum(unit="tokens", currency="USD", state=CostState.ESTIMATED, amount_micro=50, exposure_micro=50),
        Sum(unit="tokens", currency="USD", state=CostState.EXACT, amount_micro=100, exposure_micro=0),
    )
    assert row.as_json([Dimension.OWNER]) == {
        "owner": "openai",
        "requests": 3,
        "images": 4,
        "delivered": 2,
        "failed": 1,
        "attempts": 4,
        "cost": [
            {"unit": "tokens", "currency": "USD", "amount_micro": 50, "state": "estimated", "exposure_micro": 50},
            {"unit": "tokens", "currency": "USD", "amount_micro": 100, "state": "exact", "exposure_micro": 0},
        ],
        "waste_micro": 50,
        "missing_price_requests": 0,
    }


def test_alike_sums_are_added_and_no_others() -> None:
    row = one(
        spent(micro=1),
        spent(micro=2, outcome="unknown"),
        spent(micro=3, currency="CNY", outcome="unknown"),
        spent(micro=4, unit="per_request"),
    )
    assert [(each.currency, each.unit, each.amount_micro) for each in row.cost] == [
        ("USD", "per_request", 4),
        ("CNY", "tokens", 3),
        ("USD", "tokens", 3),
    ]
    assert row.waste == {"USD": 2, "CNY": 3}
    assert "waste_micro" not in row.as_json([Dimension.OWNER])


def test_a_missing_cost_is_counted_and_never_zero() -> None:
    row = one(spent(state="missing", unit="none", currency=None), spent(state=None, unit=None, outcome="unknown"))
    assert (row.cost, row.missing) == ((), 2)


def test_refusals_cost_nothing_also_in_a_ledger_that_is_older_than_costs() -> None:
    row = one(spent(unit="none", outcome="refused"), spent(state=None, unit=None, currency=None, outcome="not_sent"))
    assert (row.cost, row.missing, row.waste) == ((), 0, {})


def test_a_price_of_nothing_is_shown() -> None:
    assert [each.amount_micro for each in one(spent(unit="per_request", currency=None)).cost] == [0]


def test_groups_stand_in_order_and_requests_of_nobody_last() -> None:
    served = [Served(group=(name,), requests=1, delivered=0, images=0) for name in (None, "b", "a")]
    assert [row.group for row in usage(served, [spent(("c",))])] == [("a",), ("b",), ("c",), (None,)]
