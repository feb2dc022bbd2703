"""Policies, weights, substitutes, rules, repeats and limits as the routes file says them."""

from pathlib import Path

import pytest

from gateway.core.ceiling import Ceiling
from gateway.core.limits import Rate
from gateway.core.table import Downgrade, Limits, Policy, Route
from gateway.core.types import Action, FailureClass
from gateway.core.when import Condition, Span, Use, WhenRule
from tests.config.files import GOOD, good, lines, with_channel, with_route, with_row

PATH = "routes.gpt-image-2"


def when(rule: str) -> str:
    return with_route(f"when: [{rule}]")


def targets(text: str, *extra: str) -> str:
    return "\n".join([GOOD.replace("[direct, sandbox]", text).rstrip("\n"), *(f"    {line}" for line in extra), ""])


def route(tmp_path: Path, text: str) -> Route:
    return good(tmp_path, text).table.routes["gpt-image-2"]


def test_without_a_word_nothing_is_chosen_narrowed_repeated_or_limited(tmp_path: Path) -> None:
    plain = route(tmp_path, GOOD)
    assert (plain.policy, plain.when, plain.repeats) == (Policy.PRIORITY, (), {})
    assert [(one.weight, one.substitute) for one in plain.targets] == [(1, False), (1, False)]
    assert good(tmp_path, GOOD).table.channels["direct"].limits == Limits()


def test_limits_are_rates(tmp_path: Path) -> None:
    limits = good(tmp_path, with_channel("limits: {rpm: 500, ipm: 250}")).table.channels["direct"].limits
    assert limits == Limits(requests=Rate(per_minute=500), images=Rate(per_minute=250))
    assert lines(tmp_path, with_channel("limits: {rpm: 0}")) == [
        "routes.yaml:5:19: channels.direct.limits.rpm: must be between 1 and 1000000"
    ]


def test_weights_and_substitutes(tmp_path: Path) -> None:
    text = targets("[{channel: direct, weight: 0}, {channel: sandbox, weight: 3}]", "policy: weighted")
    assert [(one.weight, one.substitute) for one in route(tmp_path, text).targets] == [(0, False), (3, False)]
    text = targets("[direct, {channel: sandbox, substitute: true}]", "policy: least_busy")
    assert [one.substitute for one in route(tmp_path, text).targets] == [False, True]


@pytest.mark.parametrize("second", ["{channel: sandbox, weight: 0}", "{channel: sandbox, substitute: true}"])
def test_weights_that_are_all_zero_are_a_mistake(tmp_path: Path, second: str) -> None:
    text = targets(f"[{{channel: direct, weight: 0}}, {second}]", "policy: weighted")
    assert lines(tmp_path, text) == [
        f"routes.yaml:17:15: {PATH}.targets: every weight is zero, so there is nothing to choose by"
    ]


@pytest.mark.parametrize("policy", ["priority", "fastest", "least_busy"])
def test_a_weight_without_its_policy_is_a_mistake(tmp_path: Path, policy: str) -> None:
    (line,) = lines(tmp_path, targets("[{channel: direct, weight: 2}, sandbox]", f"policy: {policy}"))
    assert line.endswith(f"'weight' counts under the policy weighted only; this route's policy is {policy}")
    (line,) = lines(tmp_path, targets("[{channel: direct, weight: -1}, sandbox]", "policy: weighted"))
    assert line.endswith(".targets[0].weight: must be between 0 and 1000000")


@pytest.mark.parametrize("policy", ["priority", "fastest", "least_busy", "cheapest", "weighted"])
def test_the_weight_that_every_target_has_may_be_said(tmp_path: Path, policy: str) -> None:
    text = targets("[direct, {channel: sandbox, weight: 1}]", f"policy: {policy}")
    assert [one.weight for one in route(tmp_path, text).targets] == [1, 1]


def test_an_action_may_be_a_number_of_repeats(tmp_path: Path) -> None:
    made = route(tmp_path, with_route("on_failure: {timeout: next, overloaded: {action: same, times: 2}}"))
    assert made.on_failure == {FailureClass.TIMEOUT: Action.NEXT}
    assert made.repeats == {FailureClass.OVERLOADED: 2}
    made = route(tmp_path, with_route("on_failure: {timeout: {action: stop}}"))
    assert made.on_failure == {FailureClass.TIMEOUT: Action.STOP}


def test_rules(tmp_path: Path) -> None:
    rule = "{if: {quality: [high, auto], pixels: {gte: 4000000}, tag.app: 7, stream: false}, use: [direct]}"
    other = "{if: {n: 2}, use: [{channel: sandbox, row: gpt-image-2}]}"
    assert route(tmp_path, when(f"{rule}, {other}")).when == (
        WhenRule(
            conditions=(
                Condition(key="quality", words=("high", "auto")),
                Condition(key="pixels", span=Span(gte=4_000_000)),
                Condition(key="tag.app", words=("7",)),
                Condition(key="stream", words=(False,)),
            ),
            use=(Use(channel="direct"),),
        ),
        WhenRule(conditions=(Condition(key="n", words=(2,)),), use=(Use(channel="sandbox", row="gpt-image-2"),)),
    )


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("{if: {}, use: [direct]}", ":17: {p}.if: must have at least one entry"),
        ("{if: [n], use: [direct]}", ":17: {p}.if: must be a block of keys"),
        ("{if: {n: 2}, use: []}", ":30: {p}.use: must have at least one entry"),
        ("{if: {n: 2}}", ":12: {p}.use: is missing"),
        ("{use: [direct]}", ":12: {p}.if: is missing"),
        ("{if: {sise: 1x1}, use: [direct]}", ":18: {p}.if.sise: is not something a rule can ask; did you mean 'size'?"),
        ("{if: {tag.: 1}, use: [direct]}", ":24: {p}.if.tag.: is not something a rule can ask"),
        (
            "{if: {n: many}, use: [direct]}",
            ":21: {p}.if.n: must be a whole number, a list of them, or {{gte: N, lte: N}}",
        ),
        (
            "{if: {n: {gt: 1}}, use: [direct]}",
            ":21: {p}.if.n: a span is written {{gte: N, lte: N}}, with whole numbers, one of the two at least",
        ),
        ("{if: {stream: maybe}, use: [direct]}", ":26: {p}.if.stream: must be true or false"),
        ("{if: {size: {gte: 1}}, use: [direct]}", ":24: {p}.if.size: must be a word, or a list of words"),
        (
            "{if: {size: []}, use: [direct]}",
            ":24: {p}.if.size: the list is empty, so nothing can match: leave the condition out, or name a value",
        ),
        (
            "{if: {surface: edits}, use: [direct]}",
            ":27: {p}.if.surface: there is no surface of that name: use images/generations, images/edits, responses",
        ),
        (
            "{if: {n: 2}, use: [direkt]}",
            ":31: {p}.use[0]: 'direkt' is not a target of this route; did you mean 'direct'?",
        ),
        ("{if: {n: 2}, use: [{channel: direct, row: x}]}", ":31: {p}.use[0]: 'direct/x' is not a target of this route"),
        ("{if: {n: 2}, use: [7]}", ":31: {p}.use[0]: must be a channel's name, or {{channel: NAME, row: NAME}}"),
    ],
)
def test_each_mistake_in_a_rule_is_said_where_it_stands(tmp_path: Path, rule: str, expected: str) -> None:
    assert lines(tmp_path, when(rule)) == [f"routes.yaml:18{expected.format(p=PATH + '.when[0]')}"]


def test_rules_that_can_never_match_are_warned_of_where_they_stand(tmp_path: Path) -> None:
    fine, never = "{if: {n: 2}, use: [direct]}", "{if: {surface: responses}, use: [direct]}"
    found = good(tmp_path, when(f"{{if: {{n: {{gte: 3, lte: 2}}}}, use: [direct]}}, {fine}, {never}")).warnings
    assert [(one.line, one.column, one.path, one.message) for one in found] == [
        (18, 12, f"{PATH}.when[0]", "can never match: 'n' is never so: the API takes 1 to 10"),
        (18, 85, f"{PATH}.when[2]", "can never match: no target of this route serves the surface it asks for"),
    ]
    assert good(tmp_path, GOOD).warnings == ()


def test_what_a_request_may_cost_is_an_amount_with_its_currency(tmp_path: Path) -> None:
    made = route(tmp_path, with_route("max_cost: 0.25USD"))
    assert made.max_cost == Ceiling(amount_micro=250_000, currency="USD")
    assert route(tmp_path, with_route('max_cost: "40 CREDITS"')).max_cost == Ceiling(
        amount_micro=40_000_000, currency="CREDITS"
    )
    for wrong in ("0.25", "USD", "0USD", "-1USD", "0.0000001USD", "1usd", "1 USD/day"):
        (line,) = lines(tmp_path, with_route(f'max_cost: "{wrong}"'))
        assert line.endswith("max_cost: must be an amount of more than zero with its currency, written like 0.25USD"), (
            wrong
        )


def test_steps_down_stay_with_the_target_unless_the_route_leads_on(tmp_path: Path) -> None:
    steps = "downgrade: [{on: timeout, set: {quality: medium, size: 1024x1024}}, {on: malformed, set: {quality: low}}]"
    made = route(tmp_path, with_route(f"{steps}\n    on_failure: {{malformed: next, timeout: downgrade}}"))
    assert made.downgrade == (
        Downgrade(on=FailureClass.TIMEOUT, sets=(("quality", "medium"), ("size", "1024x1024"))),
        Downgrade(on=FailureClass.MALFORMED, sets=(("quality", "low"),), stays=False),
    )
    assert made.on_failure == {FailureClass.MALFORMED: Action.NEXT}
    assert made.repeats == {}


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ("on_failure: {timeout: downgrade}", "on_failure.timeout: needs a step of 'downgrade' on timeout"),
        (
            "downgrade: [{on: timeout, set: {quality: low}}]\n    on_failure: {timeout: stop}",
            "on_failure.timeout: says stop, and 'downgrade' has a step on timeout",
        ),
        ("downgrade: [{on: cut, set: {quality: low}}]", "on: cut ends the request: nothing is asked for after it"),
        ("downgrade: [{on: timeout, set: {}}]", "set: must set something"),
        ("downgrade: [{on: timeout, set: {n: 1}}]", "set.n: is not a key here"),
        ("downgrade: [{on: timeout, set: {quality: auto}}]", "set.quality: must be low, medium, high or xhigh"),
        ("downgrade: [{on: timeout, set: {size: auto}}]", "set.size: must be a size written like 1024x1024"),
        ("downgrade: [{set: {quality: low}}]", "on: is missing"),
    ],
)
def test_steps_down_that_could_not_be_taken_are_mistakes(tmp_path: Path, extra: str, sentence: str) -> None:
    (line,) = lines(tmp_path, with_route(extra))
    assert sentence in line


def test_a_row_may_demand_to_be_verified(tmp_path: Path) -> None:
    loaded = good(tmp_path, with_row("require: verified"))
    assert [row.must_be_verified for row in loaded.table.channels["direct"].rows.values()] == [True]
    assert [row.must_be_verified for row in loaded.table.channels["sandbox"].rows.values()] == [False]
    (line,) = lines(tmp_path, with_row("require: probed"))
    assert "require" in line
    assert "verified" in line


@pytest.mark.parametrize(
    ("price", "is_warned"),
    [
        ("", True),
        ("price: {unit: per_image, amount: 1, currency: CREDITS}", True),
        ("price: {unit: upstream_reported}", True),
        ("price: {unit: per_image, amount: 1}", False),
    ],
)
def test_a_target_whose_cost_nobody_can_bound_is_warned_of(tmp_path: Path, price: str, *, is_warned: bool) -> None:
    text = with_row(price) if price else GOOD
    text = text.replace("targets: [direct, sandbox]", "targets: [direct]\n    max_cost: 1USD")
    said = [str(one) for one in good(tmp_path, text).warnings]
    assert any("can never be asked: the route has a max_cost in USD" in one for one in said) is is_warned
