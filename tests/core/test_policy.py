"""Which targets a request may try, and why the others may not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.policy import Plan, Target, patience_for, plan
from gateway.core.table import Route, RouteTable, RouteTarget
from gateway.core.types import (
    Directives,
    Excluded,
    Facts,
    Fault,
    InputFacts,
    InputRole,
    Refusal,
    Surface,
    ToolFacts,
)
from tests.core.tables import PATIENCE, PICTURES, TURNS, channel, row, table

PLAIN = Directives()


def ask(model: str | None = "gpt-image-2", surface: Surface = Surface.GENERATIONS, tool: str | None = None) -> Facts:
    return Facts(surface=surface, asked_model=model, tool=ToolFacts(asked_model=tool, forced=False))


def house() -> RouteTable:
    """Two direct channels, one of them not ready, a text-only gateway, and a sandbox that sleeps."""
    both = PICTURES | TURNS
    return table(
        [
            channel(
                "openai",
                [row("gpt-image-2", "gpt-image-2-2026-04-21"), row("gpt-5.5", serves=TURNS)],
            ),
            channel(
                "second",
                [row("gpt-image-2"), row("picture", "img-9"), row("gpt-5.5", "gpt55", TURNS)],
                unready="SECOND_KEY is not set",
            ),
            channel("texts", [row("gpt-5.5", serves=TURNS), row("only-here", "oh-1")], patience_s=30.0),
            channel("sandbox", [row("gpt-image-2", serves=both)]),
        ],
        [
            Route(
                name="gpt-image-2",
                targets=(
                    RouteTarget(channel="openai", row="gpt-image-2"),
                    RouteTarget(channel="second", row="gpt-image-2", unusable="no_credentials"),
                    RouteTarget(channel="openai", row="gpt-image-2"),
                ),
                default_for=frozenset({Surface.GENERATIONS}),
            ),
            Route(
                name="gpt-5.5",
                targets=(
                    RouteTarget(channel="openai", row="gpt-5.5"),
                    RouteTarget(channel="texts", row="gpt-5.5"),
                ),
                deadline_s=100.0,
                max_attempts=5,
            ),
            Route(name="house-image", targets=(RouteTarget(channel="openai", row="gpt-image-2"),)),
            Route(
                name="cold",
                targets=(
                    RouteTarget(channel="texts", row="gpt-5.5"),
                    RouteTarget(channel="second", row="gpt-image-2", unusable="no_credentials"),
                    RouteTarget(channel="sandbox", row="gpt-image-2", unusable="sandbox_asleep"),
                ),
            ),
        ],
    )


def made(facts: Facts, directives: Directives = PLAIN) -> Plan:
    found = plan(facts, directives, house())
    assert isinstance(found, Plan), found
    return found


def refused(facts: Facts, directives: Directives = PLAIN) -> Refusal:
    found = plan(facts, directives, house())
    assert isinstance(found, Refusal), found
    return found


def names(found: Plan) -> list[str]:
    return [target.name for target in found.targets]


def test_the_order_is_the_files_and_duplicates_are_gone() -> None:
    found = made(ask())
    assert names(found) == ["openai/gpt-image-2"]
    assert found.targets[0].sent_model == "gpt-image-2-2026-04-21"
    assert found.targets[0].tool_sent_model is None
    assert found.excluded == (Excluded(target="second/gpt-image-2", reason="no_credentials"),)
    assert (found.asked_model, found.max_attempts, found.deadline_s) == ("gpt-image-2", 3, 580.0)


def test_an_unknown_model_is_404_in_the_apis_words() -> None:
    refusal = refused(ask("gpt-imgae-2"))
    assert (refusal.status, refusal.code, refusal.param, refusal.fault) == (
        404,
        "model_not_found",
        "model",
        Fault.CALLER,
    )
    assert refusal.message == "The model `gpt-imgae-2` does not exist or you do not have access to it."


@pytest.mark.parametrize("word", ["sk-proj-0123456789", "a\r\nb", "http://x", "x" * 500])
def test_a_word_that_may_be_a_secret_is_not_repeated(word: str) -> None:
    assert refused(ask(word)).message == "The requested model does not exist or you do not have access to it."


def test_a_request_without_a_model_takes_the_surfaces_default() -> None:
    assert made(ask(None)).asked_model == "gpt-image-2"
    refusal = refused(ask(None, Surface.EDITS))
    assert (refusal.status, refusal.code, refusal.param) == (400, "missing_required_parameter", "model")


def test_an_image_model_is_not_the_model_of_a_turn() -> None:
    refusal = refused(ask("gpt-image-2", Surface.RESPONSES))
    assert (refusal.status, refusal.code, refusal.param) == (400, "image_model_not_allowed", "model")
    assert "image_generation tool" in refusal.message
    assert "/v1/images/generations" in refusal.message


def test_a_pin_leaves_one_channel() -> None:
    found = made(ask("gpt-5.5", Surface.RESPONSES), Directives(pin="texts"))
    assert names(found) == ["texts/gpt-5.5"]
    assert found.excluded == (Excluded(target="openai/gpt-5.5", reason="not_pinned"),)


def test_a_pin_to_a_channel_that_is_not_on_the_route_names_it() -> None:
    refusal = refused(ask(), Directives(pin="texts"))
    assert (refusal.status, refusal.code) == (400, "no_eligible_target")
    assert refusal.message == "The channel `texts` is not a target of this route."
    assert [item.reason for item in refusal.excluded] == ["not_pinned", "not_pinned"]
    assert (
        refused(ask(), Directives(pin="sk-0123456789")).message == "The pinned channel is not a target of this route."
    )


def test_a_pin_to_a_channel_that_is_not_ready_is_503() -> None:
    refusal = refused(ask(), Directives(pin="second"))
    assert (refusal.status, refusal.code, refusal.retry_after_s) == (503, "no_healthy_target", 1.0)
    assert refusal.message == "No target of this route is ready (second/gpt-image-2: SECOND_KEY is not set)."


def test_a_row_that_does_not_serve_the_surface_is_out() -> None:
    refusal = refused(ask("gpt-5.5"))
    assert (refusal.status, refusal.code, refusal.fault) == (400, "no_eligible_target", Fault.CALLER)
    assert refusal.message == (
        "No target of this route can serve this request "
        "(openai/gpt-5.5: surface_not_served; texts/gpt-5.5: surface_not_served)."
    )


def test_nobody_ready_is_503_and_says_what_is_missing() -> None:
    refusal = refused(ask("cold"))
    assert (refusal.status, refusal.code, refusal.fault) == (503, "no_healthy_target", Fault.ROUTING)
    assert refusal.message == (
        "No target of this route is ready "
        "(second/gpt-image-2: SECOND_KEY is not set; sandbox/gpt-image-2: sandbox_asleep)."
    )
    assert [item.reason for item in refusal.excluded] == ["surface_not_served", "no_credentials", "sandbox_asleep"]


def test_fallback_off_is_one_attempt() -> None:
    facts = ask("gpt-5.5", Surface.RESPONSES)
    assert made(facts).max_attempts == 5
    assert made(facts, Directives(fallback=False)).max_attempts == 1


@pytest.mark.parametrize(
    ("tool", "sent"),
    [
        (None, {"openai": None, "texts": None}),
        ("gpt-image-2", {"openai": "gpt-image-2-2026-04-21"}),  # texts has no name for it
        ("house-image", {"openai": "gpt-image-2-2026-04-21"}),  # the row that the tool's route targets
        ("only-here", {"texts": "oh-1"}),  # a row of the channel without a route
        ("gpt-image-9", {"openai": "gpt-image-9", "texts": "gpt-image-9"}),  # unknown everywhere
    ],
)
def test_the_tools_model_is_resolved_on_the_channel_of_the_text_model(
    tool: str | None, sent: dict[str, str | None]
) -> None:
    found = made(ask("gpt-5.5", Surface.RESPONSES, tool))
    assert {target.channel.name: target.tool_sent_model for target in found.targets} == sent
    assert {item.reason for item in found.excluded} <= {"tool_model_unavailable"}
    assert len(found.targets) + len(found.excluded) == 2


def test_a_tools_model_that_no_channel_can_name_refuses() -> None:
    refusal = refused(ask("gpt-5.5", Surface.RESPONSES, "picture"))
    assert (refusal.status, refusal.code) == (400, "no_eligible_target")
    assert "tool_model_unavailable" in refusal.message


def test_patience_is_the_channels_or_by_shape_and_never_over_the_deadline() -> None:
    by_channel = {target.channel.name: target.patience_s for target in made(ask("gpt-5.5", Surface.RESPONSES)).targets}
    assert by_channel == {"openai": 100.0, "texts": 30.0}


GIVEN = InputFacts(role=InputRole.IMAGE, source="upload")


@pytest.mark.parametrize(
    ("size", "quality", "inputs", "seconds"),
    [
        (None, None, 0, 360.0),
        ("auto", "auto", 0, 360.0),
        ("1024x1024", "low", 0, 180.0),
        ("1024x1024", "medium", 4, 360.0),
        ("1024x1024", "high", 0, 600.0),
        ("1024x1024", "low", 5, 600.0),
        ("2000x1000", "low", 0, 180.0),
        ("2001x1000", "low", 0, 600.0),
        ("9999999x9999999", "low", 0, 180.0),
        ("big", "low", 0, 180.0),
    ],
)
def test_patience_by_shape(size: str | None, quality: str | None, inputs: int, seconds: float) -> None:
    facts = Facts(surface=Surface.EDITS, asked_model="m", size=size, quality=quality, inputs=(GIVEN,) * inputs)
    assert patience_for(facts, PATIENCE) == seconds


def test_patience_of_a_turn_is_one_figure() -> None:
    assert patience_for(ask("gpt-5.5", Surface.RESPONSES), PATIENCE) == 600.0


words = st.sampled_from(["m", "n", "o"])
routes = st.lists(
    st.builds(
        RouteTarget,
        channel=st.sampled_from(["a", "b", "c"]),
        row=words,
        unusable=st.none() | st.just("no_credentials"),
    ),
    max_size=8,
)


@settings(max_examples=200, deadline=None)
@given(
    targets=routes,
    serves=st.lists(st.frozensets(st.sampled_from(Surface)), min_size=3, max_size=3),
    facts=st.builds(
        Facts,
        surface=st.sampled_from(Surface),
        asked_model=st.none() | words,
        size=st.none() | st.text(max_size=12),
        tool=st.none() | st.builds(ToolFacts, asked_model=st.none() | words, forced=st.booleans()),
    ),
    directives=st.builds(Directives, pin=st.none() | st.sampled_from(["a", "b", "x"]), fallback=st.booleans()),
)
def test_a_plan_never_repeats_a_target_nor_takes_an_unusable_one(
    targets: list[RouteTarget], serves: list[frozenset[Surface]], facts: Facts, directives: Directives
) -> None:
    rows = [row(name, serves=one) for name, one in zip(("m", "n", "o"), serves, strict=True)]
    route = Route(name="m", targets=tuple(targets))
    known = table([channel(name, rows) for name in ("a", "b", "c")], [route])
    found = plan(facts, directives, known)
    assert plan(facts, directives, known) == found
    if isinstance(found, Refusal):
        assert found.status in (400, 404, 503)
        return
    assert found.targets
    assert len(set(names(found))) == len(found.targets)
    assert len(found.targets) + len(found.excluded) == len({target.name for target in targets})
    order = [target.name for target in targets]
    assert names(found) == sorted(names(found), key=order.index)
    first: dict[str, RouteTarget] = {}
    for target in targets:
        first.setdefault(target.name, target)
    for chosen in found.targets:
        assert_may_be_tried(chosen, first[chosen.name], facts, directives)


def assert_may_be_tried(chosen: Target, written: RouteTarget, facts: Facts, directives: Directives) -> None:
    assert written.unusable is None
    assert facts.surface in chosen.row.serves
    assert directives.pin in (None, chosen.channel.name)
    assert 0 < chosen.patience_s <= 580.0
