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
    missing: int = 0,
) -> Spent:
    return Spent(
        group=group,
        attempts=2,
        missing=missing,
        outcome=outcome,
        unit=unit,
        currency=currency,
        state=state,
        amount_micro=micro,
        exposure_micro=exposure,
    )


def one(*of: Spent, accepted: int = 0) -> Usage:
    served = Served(group=("openai",), requests=3, delivered=2, images=4, accepted=accepted, rejected=1, credits=33)
    (row,) = usage([served], of)
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
        "accepted": 0,
        "rejected": 1,
        "failed": 1,
        "attempts": 4,
        "cost": [
            {"unit": "tokens", "currency": "USD", "amount_micro": 50, "state": "estimated", "exposure_micro": 50},
            {"unit": "tokens", "currency": "USD", "amount_micro": 100, "state": "exact", "exposure_micro": 0},
        ],
        "waste_micro": 50,
        "cost_per_accepted_micro": None,
        "cost_per_accepted_currency": None,
        "credits": 33,
        "missing_price_requests": 0,
        "rescued_images": 0,
        "rescued_micro": 0,
        "lost_requests": 0,
        "lost_micro": 0,
    }


def test_an_accepted_picture_cost_all_money_of_the_group() -> None:
    row = one(
        spent(micro=100),
        spent(micro=51, unit="per_request", outcome="unknown", state="estimated", exposure=51),
        accepted=2,
    )
    document = row.as_json([Dimension.OWNER])
    assert (document["accepted"], document["cost_per_accepted_micro"]) == (2, 76)  # 75.5, half to even
    assert document["cost_per_accepted_currency"] == "USD"


def test_two_currencies_have_no_cost_per_accepted_picture_and_credits_are_none() -> None:
    both = one(spent(micro=100), spent(micro=50, currency="CNY"), accepted=2).as_json([Dimension.OWNER])
    assert (both["cost_per_accepted_micro"], both["cost_per_accepted_currency"]) == (None, None)
    free = one(spent(unit="none"), accepted=2).as_json([Dimension.OWNER])
    assert (free["cost_per_accepted_micro"], free["credits"]) == (None, 33)


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
    assert row.as_json([Dimension.OWNER])["waste_micro"] is None


def test_a_missing_cost_is_counted_and_never_zero() -> None:
    row = one(
        spent(state="missing", unit="none", currency=None, missing=1),
        spent(state=None, unit=None, outcome="unknown", missing=1),
    )
    assert (row.cost, row.missing) == ((), 2)


def test_refusals_cost_nothing_also_in_a_ledger_that_is_older_than_costs() -> None:
    row = one(spent(unit="none", outcome="refused"), spent(state=None, unit=None, currency=None, outcome="not_sent"))
    assert (row.cost, row.missing, row.waste) == ((), 0, {})


def test_a_price_of_nothing_is_shown() -> None:
    assert [each.amount_micro for each in one(spent(unit="per_request", currency=None)).cost] == [0]


def test_groups_stand_in_order_and_requests_of_nobody_last() -> None:
    served = [Served(group=(name,), requests=1, delivered=0, images=0) for name in (None, "b", "a")]
    assert [row.group for row in usage(served, [spent(("c",))])] == [("a",), ("b",), ("c",), (None,)]
