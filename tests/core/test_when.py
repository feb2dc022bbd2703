"""Which rule speaks of a request, and which rule never can."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.pixels import pixels_of
from gateway.core.types import Directives, Facts, InputFacts, InputRole, Surface
from gateway.core.when import Condition, Span, Use, WhenRule, doubts, first_match, read

GIVEN = InputFacts(role=InputRole.IMAGE, source="upload")
FACTS = Facts(
    surface=Surface.EDITS,
    asked_model="m",
    stream=True,
    n=2,
    size="2048x1024",
    quality="high",
    background="transparent",
    output_format="png",
    partial_images=1,
    prompt_chars=40,
    inputs=(GIVEN, GIVEN),
    mask=InputFacts(role=InputRole.MASK, source="upload"),
)
TAGGED = Directives(tags=(("team", "web"),))
BARE = Facts(surface=Surface.GENERATIONS, asked_model="m")
USE = (Use(channel="a"),)


def condition(key: str, value: object) -> Condition:
    found = read(key, value)
    assert isinstance(found, Condition), found
    return found


def rule(**conditions: object) -> WhenRule:
    return WhenRule(conditions=tuple(condition(key, value) for key, value in conditions.items()), use=USE)


@pytest.mark.parametrize(
    ("key", "yes", "no"),
    [
        ("surface", "images/edits", "responses"),
        ("size", "2048x1024", "1024x1024"),
        ("quality", ["low", "high"], ["low", "medium"]),
        ("background", "transparent", "opaque"),
        ("output_format", "png", "webp"),
        ("n", 2, 1),
        ("n", "2", "3"),
        ("n", {"gte": 2}, {"gte": 3}),
        ("n", {"lte": 2}, {"lte": 1}),
        ("pixels", {"gte": 2_097_152, "lte": 2_097_152}, {"gte": 2_097_153}),
        ("stream", True, False),
        ("stream", "true", "false"),
        ("partial_images", [1, 2], [2, 3]),
        ("has_mask", True, [False]),
        ("input_images", 2, {"gte": 3}),
        ("prompt_chars", {"lte": 40}, {"lte": 39}),
        ("tag.team", "web", "app"),
        ("tag.team", ["app", "web"], 7),
    ],
)
def test_each_key_matches_what_the_request_says(key: str, yes: object, no: object) -> None:
    assert WhenRule(conditions=(condition(key, yes),), use=USE).matches(FACTS, TAGGED)
    assert not WhenRule(conditions=(condition(key, no),), use=USE).matches(FACTS, TAGGED)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("size", "auto"),
        ("quality", "auto"),
        ("pixels", {"gte": 1}),
        ("partial_images", {"gte": 0}),
        ("tag.team", "web"),
    ],
)
def test_what_a_request_does_not_say_matches_nothing(key: str, value: object) -> None:
    assert not WhenRule(conditions=(condition(key, value),), use=USE).matches(BARE, Directives())


@pytest.mark.parametrize(("key", "value"), [("n", 1), ("stream", False), ("has_mask", False), ("input_images", 0)])
def test_but_counts_and_flags_are_always_said(key: str, value: object) -> None:
    assert WhenRule(conditions=(condition(key, value),), use=USE).matches(BARE, Directives())


def test_every_condition_must_hold_and_the_first_rule_decides() -> None:
    rules = (rule(n=2, quality="low"), rule(n=2), rule(quality="high"))
    assert first_match(rules, FACTS, TAGGED) == 1
    assert first_match(rules, BARE, TAGGED) is None
    assert first_match((), FACTS, TAGGED) is None


def test_a_rule_leaves_channels_and_rows() -> None:
    made = WhenRule(conditions=(condition("n", 1),), use=(Use(channel="a"), Use(channel="b", row="m")))
    assert [made.leaves(*one) for one in (("a", "m"), ("a", "n"), ("b", "m"), ("b", "n"), ("c", "m"))] == [
        True,
        True,
        True,
        False,
        False,
    ]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("n", "many", "must be a whole number"),
        ("n", True, "must be a whole number"),
        ("n", [], "must be a whole number"),
        ("n", [1, "x"], "must be a whole number"),
        ("n", {}, "a span is written"),
        ("n", {"gt": 1}, "a span is written"),
        ("n", {"gte": 1.5}, "a span is written"),
        ("pixels", "9" * 19, "must be a whole number"),
        ("stream", "maybe", "must be true or false"),
        ("stream", {"gte": 1}, "must be true or false"),
        ("size", [], "the list is empty"),
        ("size", True, "must be a word"),
        ("size", {"gte": 1}, "must be a word"),
        ("surface", "edits", "there is no surface of that name"),
        ("tag.", "x", "is not something a rule can ask"),
        ("colour", "x", "is not something a rule can ask"),
    ],
)
def test_what_cannot_be_read_is_said(key: str, value: object, why: str) -> None:
    found = read(key, value)
    assert isinstance(found, str)
    assert found.startswith(why)


ALL = frozenset(Surface)
IMAGES = frozenset({Surface.GENERATIONS, Surface.EDITS})


@pytest.mark.parametrize(
    ("made", "served", "why"),
    [
        (rule(n={"gte": 5, "lte": 4}), ALL, "'n' is never so: the API takes 1 to 10"),
        (rule(n=99), ALL, "'n' is never so: the API takes 1 to 10"),
        (rule(n=[0, 99]), ALL, "'n' is never so: the API takes 1 to 10"),
        (rule(partial_images={"gte": 4}), ALL, "'partial_images' is never so: the API takes 0 to 3"),
        (rule(surface="responses"), IMAGES, "no target of this route serves the surface it asks for"),
        (rule(surface="images/generations", has_mask=True), ALL, "images/generations takes no pictures and no mask"),
        (rule(input_images={"gte": 1}), {Surface.GENERATIONS}, "images/generations takes no pictures and no mask"),
        (rule(size="1024x1024", pixels={"gte": 2_000_000}), ALL, "'size' and 'pixels' contradict each other"),
        (rule(size="auto", pixels=1), ALL, "'size' and 'pixels' contradict each other"),
    ],
)
def test_a_rule_that_can_never_match_is_doubted(made: WhenRule, served: frozenset[Surface], why: str) -> None:
    assert list(doubts((made,), served)) == [(0, why)]


def test_a_rule_behind_a_wider_one_is_doubted() -> None:
    rules = (rule(n=2), rule(quality="high"), rule(quality="high", n=2))
    assert list(doubts(rules, ALL)) == [
        (2, "an earlier rule matches all that this one matches, so it is never reached")
    ]


@pytest.mark.parametrize(
    "made",
    [
        rule(n={"gte": 1, "lte": 10}),
        rule(n=[1, 99]),
        rule(surface=["responses", "images/edits"]),
        rule(has_mask=False),
        rule(surface="images/generations", input_images=0),
        rule(surface="images/edits", input_images={"gte": 4}),
        rule(size=["1024x1024", "2048x2048"], pixels={"gte": 2_000_000}),
        rule(**{"tag.team": "web"}),
    ],
)
def test_other_rules_are_not(made: WhenRule) -> None:
    assert list(doubts((made,), IMAGES)) == []


def test_a_span_is_not_met_by_a_word() -> None:
    assert not Condition(key="size", span=Span(gte=1)).admits("1024x1024")


@pytest.mark.parametrize(
    ("size", "pixels"), [("10x20", 200), (None, None), ("auto", None), ("10x", None), ("1234567x1", None)]
)
def test_pixels(size: str | None, pixels: int | None) -> None:
    assert pixels_of(size) == pixels


@settings(max_examples=200, deadline=None)
@given(
    key=st.sampled_from(["surface", "size", "n", "pixels", "stream", "has_mask", "tag.a", "quality", "zzz"]),
    value=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["gte", "lte", "x"]), inner),
        max_leaves=5,
    ),
)
def test_reading_and_matching_never_raise(key: str, value: object) -> None:
    found = read(key, value)
    if isinstance(found, Condition):
        made = WhenRule(conditions=(found,), use=USE)
        assert made.matches(FACTS, TAGGED) in (True, False)
        assert len(list(doubts((made,), ALL))) <= 1
