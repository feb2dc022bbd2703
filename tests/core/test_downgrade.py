"""Asked again for less: which step follows, how a target is asked then, and that no path passes its bounds."""

from collections.abc import Mapping
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.core.ceiling import MAX_COST, NO_PRICE, Ceiling
from gateway.core.downgrade import asked_as, changes_of, next_step_down
from gateway.core.failures import CONSEQUENCES
from gateway.core.forecast import worst_case
from gateway.core.legacy import Legacy
from gateway.core.money import MISSING
from gateway.core.plan import Plan
from gateway.core.policy import plan
from gateway.core.prices import ImagePrice, MatrixPrice
from gateway.core.table import Downgrade, Policy, Route, RouteTable, RouteTarget
from gateway.core.terms import Contract
from gateway.core.types import Action, Directives, Facts, Failure, FailureClass, Outcome, Refusal, Surface, ToolFacts
from gateway.core.walk import GiveUp, GiveUpReason, Road, Tried, Try, next_step
from tests.core.tables import channel, row, table

TIMEOUT, LOST = FailureClass.TIMEOUT, FailureClass.CONNECTION_LOST
MEDIUM = Downgrade(on=TIMEOUT, sets=(("quality", "medium"),))
LOW = Downgrade(on=TIMEOUT, sets=(("quality", "low"), ("size", "1024x1024")))
ON = Downgrade(on=LOST, sets=(("quality", "low"),), stays=False)
CALLING = Road(die=0.5, may_repeat=True)
USD = Ceiling(amount_micro=100, currency="USD")
MATRIX = MatrixPrice(
    id="p",
    currency="USD",
    cells={"1K": {"low": Fraction(10), "medium": Fraction(30), "high": Fraction(60), "*": Fraction(60)}},
)


def known(route: Route, *prices: ImagePrice | MatrixPrice | None) -> RouteTable:
    rows = [replace(row("m", f"m-{name}"), price=price) for name, price in zip("abc", prices, strict=True)]
    return table([channel(name, [one]) for name, one in zip("abc", rows, strict=True)], [route])


def route(*steps: Downgrade, max_cost: Ceiling | None = None, policy: Policy = Policy.PRIORITY) -> Route:
    targets = tuple(RouteTarget(channel=name, row="m") for name in "abc")
    return Route(name="m", targets=targets, downgrade=steps, max_cost=max_cost, policy=policy, max_attempts=9)


def asking(quality: str | None = "high", size: str | None = "1024x1024") -> Facts:
    return Facts(surface=Surface.GENERATIONS, asked_model="m", quality=quality, size=size)


def planned(made: Route, facts: Facts | None = None, prices: tuple[ImagePrice | MatrixPrice | None, ...] = ()) -> Plan:
    found = plan(facts or asking(), Directives(), known(made, *(prices or (MATRIX, MATRIX, MATRIX))))
    assert isinstance(found, Plan)
    return found


def failed(kind: FailureClass, action: Action | None = None) -> Failure:
    told = CONSEQUENCES[kind]
    return Failure(kind=kind, detail="x", outcome=told.outcome, fault=told.fault, action=action or told.action)


def walk(found: Plan, *history: Tried, road: Road = CALLING) -> Try | GiveUp:
    return next_step(found, history, 1000.0, 1000.0, client_gone=False, road=road)


@pytest.mark.parametrize(
    ("quality", "size", "taken"),
    [
        ("high", "1024x1024", 0),
        (None, None, 0),
        ("auto", None, 0),
        ("hd", None, 0),
        ("max", None, 0),
        ("a-word-of-tomorrow", None, 0),
        ("medium", "1024x1024", 1),
        ("low", "2048x2048", 1),
        ("low", "auto", 1),
        ("low", "1024x1024", None),
        ("low", "512x512", None),
    ],
)
def test_a_step_that_lowers_nothing_is_passed_over(quality: str | None, size: str | None, taken: int | None) -> None:
    assert next_step_down(planned(route(MEDIUM, LOW), asking(quality, size)), (), TIMEOUT) == taken


def test_each_step_is_taken_once_after_its_class() -> None:
    found = planned(route(MEDIUM, LOW, ON), asking(size="2048x2048"))
    assert next_step_down(found, (0,), TIMEOUT) == 1
    assert next_step_down(found, (0, 1), TIMEOUT) is None
    assert next_step_down(found, (), LOST) == 2
    assert next_step_down(found, (1,), LOST) is None  # it is low already
    assert next_step_down(found, (), FailureClass.OVERLOADED) is None
    assert {change.param: change.text for change in changes_of(found, (0, 1))} == {
        "quality": "low",
        "size": "1024x1024",
    }


def test_a_turn_has_something_to_lower_only_when_it_draws() -> None:
    found = replace(planned(route(MEDIUM)), facts=Facts(surface=Surface.RESPONSES, asked_model="m"))
    assert next_step_down(found, (), TIMEOUT) is None
    drawing = replace(found.facts, tool=ToolFacts(asked_model=None, forced=False))
    assert next_step_down(replace(found, facts=drawing), (), TIMEOUT) == 0


def test_a_target_is_asked_in_its_own_words_and_priced_by_what_it_is_asked() -> None:
    found = planned(route(MEDIUM, max_cost=USD))
    lower = asked_as(found, 0, (0,))
    assert lower is not None
    assert lower.facts is not None
    assert (lower.facts.quality, [change.stamp for change in lower.changes]) == ("medium", ["downgraded:quality"])
    assert (lower.patience_s, found.targets[0].patience_s) == (360.0, 580.0)
    before = found.targets[0].quote
    assert before is not None
    assert lower.quote is not None
    assert (before.amount_micro, lower.quote.amount_micro) == (60, 30)
    assert asked_as(found, 0, ()) is found.targets[0]
    assert asked_as(planned(route(MEDIUM)), 0, (0,)) is not None


def test_a_contract_that_does_not_take_the_new_value_bars_the_target() -> None:
    found = planned(route(MEDIUM))
    strict = Contract(name="strict", words={"quality": ("low", "high")})
    barred = replace(found, targets=(replace(found.targets[0], contract=strict), *found.targets[1:]))
    assert asked_as(barred, 0, (0,)) is None
    assert walk(barred, Tried(target=0, failure=failed(TIMEOUT))) == GiveUp(reason=GiveUpReason.STOPPED)


def test_a_step_that_the_contract_takes_back_is_none() -> None:
    found = planned(route(MEDIUM))
    told = Contract(name="told", words={"quality": ("low", "high")})
    legacy = Legacy(values={"quality": {"medium": "high"}})
    back = replace(
        found,
        targets=(replace(found.targets[0], contract=told, facts=found.facts), *found.targets[1:]),
        table=replace(found.table, legacy=legacy),
    )
    asked = asked_as(back, 0, (0,))
    assert asked is not None
    assert (asked.changes, asked.facts) == ((), found.facts)
    assert walk(back, Tried(target=0, failure=failed(TIMEOUT))) == GiveUp(reason=GiveUpReason.STOPPED)


def test_the_same_target_is_asked_again_unless_the_route_leads_on() -> None:
    found = planned(route(MEDIUM, LOW, ON), asking(size="2048x2048"), (MATRIX, MATRIX, MATRIX))
    first = walk(found, Tried(target=0, failure=failed(TIMEOUT)))
    assert isinstance(first, Try)
    assert (first.index, first.steps, first.pause_s) == (0, (0,), 0.25)
    second = walk(found, Tried(target=0, failure=failed(TIMEOUT)), Tried(target=0, failure=failed(TIMEOUT), steps=(0,)))
    assert isinstance(second, Try)
    assert (second.index, second.steps) == (0, (0, 1))
    onward = walk(found, Tried(target=0, failure=failed(LOST, Action.NEXT)))
    assert isinstance(onward, Try)
    assert (onward.index, onward.steps, onward.pause_s) == (1, (2,), None)
    later = walk(found, Tried(target=0, failure=failed(FailureClass.OVERLOADED), steps=(0,)))
    assert isinstance(later, Try)
    assert (later.index, later.steps) == (1, (0,))  # what was lowered stays lowered


@pytest.mark.parametrize("road", [Road(die=0.5), Road(die=0.5, may_repeat=True, passed={0})])
def test_a_step_down_keeps_to_the_bounds_of_a_repeat(road: Road) -> None:
    found = planned(route(MEDIUM))
    assert walk(found, Tried(target=0, failure=failed(TIMEOUT)), road=road) == GiveUp(reason=GiveUpReason.STOPPED)


def test_who_costs_too_much_is_out_and_the_reason_says_which_way() -> None:
    dear = ImagePrice(id="d", currency="USD", amount=Fraction(101))
    found = planned(route(max_cost=USD), prices=(dear, None, MATRIX))
    assert [target.name for target in found.targets] == ["c/m"]
    assert [(one.target, one.reason) for one in found.excluded] == [("a/m", MAX_COST), ("b/m", NO_PRICE)]
    coins = ImagePrice(id="d", currency="CREDITS", amount=Fraction(1))
    refused = plan(asking(), Directives(), known(route(max_cost=USD), coins, None, coins))
    assert isinstance(refused, Refusal)
    assert {one.reason for one in refused.excluded} == {NO_PRICE}
    assert "known of none" in refused.message
    assert (refused.status, refused.code) == (400, "no_eligible_target")


def test_a_ceiling_may_be_reached_and_not_passed() -> None:
    assert USD.bars(MISSING) == NO_PRICE
    assert USD.bars(None) == NO_PRICE
    found = planned(route(max_cost=USD))
    quote = found.targets[0].quote
    assert USD.bars(quote, 40) is None
    assert USD.bars(quote, 41) == MAX_COST
    spent = Tried(target=0, failure=failed(LOST, Action.NEXT), spent_micro=41)
    assert walk(found, spent) == GiveUp(reason=GiveUpReason.MAX_COST, dear=(1, 2))


def test_the_cheapest_goes_first_currency_by_currency_and_the_unknown_last() -> None:
    def image(amount: int, currency: str = "USD") -> ImagePrice:
        return ImagePrice(id="i", currency=currency, amount=Fraction(amount))

    def order(*prices: ImagePrice | MatrixPrice | None) -> str:
        return "".join(target.name[0] for target in planned(route(policy=Policy.CHEAPEST), prices=prices).targets)

    assert order(image(3), image(1), image(2)) == "bca"
    assert order(image(2), image(1), image(2)) == "bac"
    assert order(None, image(9), image(2)) == "cba"
    assert order(image(9, "CREDITS"), image(1), image(2, "CREDITS")) == "cab"
    assert order(MATRIX, image(59), image(61)) == "bac"


@settings(max_examples=200, deadline=None)
@given(
    steps=st.lists(
        st.builds(
            Downgrade,
            on=st.sampled_from(FailureClass),
            sets=st.sampled_from([(("quality", "low"),), (("quality", "medium"),), (("size", "1024x1024"),)]),
            stays=st.booleans(),
        ),
        max_size=5,
    ),
    says=st.tuples(
        st.dictionaries(st.sampled_from(FailureClass), st.sampled_from(Action)),
        st.dictionaries(st.sampled_from(FailureClass), st.integers(1, 3)),
    ),
    kinds=st.lists(st.sampled_from(FailureClass), min_size=12, max_size=12),
    max_attempts=st.integers(1, 9),
    ceiling=st.integers(60, 400) | st.just(10**9),
    prices=st.lists(
        st.sampled_from([MATRIX, None, ImagePrice(id="i", currency="USD", amount=Fraction(45))]), min_size=3
    ),
)
def test_no_path_of_attempts_passes_max_attempts_or_max_cost_or_the_worst_case(
    steps: list[Downgrade],
    says: tuple[Mapping[FailureClass, Action], Mapping[FailureClass, int]],
    kinds: list[FailureClass],
    max_attempts: int,
    ceiling: int,
    prices: list[ImagePrice | MatrixPrice | None],
) -> None:
    made = replace(
        route(*steps, max_cost=Ceiling(amount_micro=ceiling, currency="USD")),
        on_failure=says[0],
        repeats=says[1],
        max_attempts=max_attempts,
    )
    found = plan(asking(size="2048x2048"), Directives(), known(made, *prices[:3]))
    if isinstance(found, Refusal):
        return
    bound = worst_case(found).amount_micro
    assert bound is not None
    history: list[Tried] = []
    spent = 0
    for kind in kinds:
        now = walk(found, *history)
        if isinstance(now, GiveUp):
            break
        failure = failed(kind, Action.NEXT if kind is FailureClass.EMPTY_RESULT else None)
        assert now.target.quote is not None
        assert now.target.quote.amount_micro is not None
        took = 0 if failure.outcome in (Outcome.NOT_SENT, Outcome.REFUSED) else now.target.quote.amount_micro
        spent += took
        assert spent <= bound <= ceiling
        assert set(history[-1].steps if history else ()) <= set(now.steps)
        assert len(set(now.steps)) == len(now.steps)
        history.append(Tried(target=now.index, failure=failure, steps=now.steps, spent_micro=took))
        assert len(history) <= max_attempts
    else:
        raise AssertionError("a walk must end")
