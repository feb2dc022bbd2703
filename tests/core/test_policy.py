"""Which targets a request may try, and why the others may not."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from gateway.config.contracts import legacy
from gateway.core.patience import patience_for
from gateway.core.plan import Plan, Target
from gateway.core.policy import plan
from gateway.core.table import Route, RouteTable, RouteTarget
from gateway.core.terms import Mode
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
from tests.core.contract_cases import contract
from tests.core.tables import PATIENCE, PICTURES, TURNS, channel, row, table

PLAIN = Directives()
LEGACY = legacy()


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


# --- contracts


def contracted(**rows: str) -> RouteTable:
    """One channel for each contract, all of them on the route ``pic``; ``chat`` is a text row of each."""
    channels = [
        channel(name, [replace(row("pic"), contract=contract(one)), row("chat", serves=TURNS)])
        for name, one in rows.items()
    ]
    routes = [
        Route(name=name, targets=tuple(RouteTarget(channel=one, row=name) for one in rows)) for name in ("pic", "chat")
    ]
    return replace(table(channels, routes), legacy=LEGACY)


def reasons(found: Plan | Refusal) -> list[tuple[str, str]]:
    return [(item.target, item.reason) for item in found.excluded]


def test_a_target_whose_contract_forbids_the_request_is_out() -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="pic", background="transparent")
    found = plan(facts, PLAIN, contracted(a="gpt-image-2", b="gpt-image-1.5"))
    assert isinstance(found, Plan)
    assert [target.name for target in found.targets] == ["b/pic"]
    assert reasons(found) == [("a/pic", "contract:background")]


def test_when_none_can_the_nearest_one_is_told_of() -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="pic", quality="max", size="2048x2048")
    found = plan(facts, PLAIN, contracted(a="gpt-image-1.5", b="gpt-image-2"))
    assert isinstance(found, Refusal)
    assert (found.status, found.code, found.param, found.fault) == (400, "invalid_value", "quality", Fault.CALLER)
    assert reasons(found) == [("a/pic", "contract:size"), ("b/pic", "contract:quality")]


def test_a_target_that_lacks_only_a_key_is_told_of_before_contracts() -> None:
    whole = contracted(a="gpt-image-2", b="gpt-image-1.5")
    targets = (RouteTarget(channel="a", row="pic"), RouteTarget(channel="b", row="pic", unusable="no_credentials"))
    whole = replace(whole, routes={"pic": Route(name="pic", targets=targets)})
    found = plan(Facts(surface=Surface.GENERATIONS, asked_model="pic", background="transparent"), PLAIN, whole)
    assert isinstance(found, Refusal)
    assert found.status == 503


def test_a_contract_that_only_advises_comes_after_the_others_and_before_substitutes() -> None:
    whole = contracted(a="gpt-image-2", b="gpt-image-1.5", c="gpt-image-1.5")
    first = whole.channels["a"]
    doubtful = replace(first.rows["pic"], contract=replace(first.rows["pic"].contract, mode=Mode.ADVISE))
    targets = (
        RouteTarget(channel="c", row="pic", substitute=True),
        RouteTarget(channel="a", row="pic"),
        RouteTarget(channel="b", row="pic"),
    )
    whole = replace(
        whole,
        channels={**whole.channels, "a": replace(first, rows={"pic": doubtful})},
        routes={"pic": Route(name="pic", targets=targets)},
    )
    found = plan(Facts(surface=Surface.GENERATIONS, asked_model="pic", background="transparent"), PLAIN, whole)
    assert isinstance(found, Plan)
    assert [(target.channel.name, target.is_doubtful) for target in found.targets] == [
        ("b", False),
        ("a", True),
        ("c", False),
    ]


def test_each_target_is_asked_in_its_own_words() -> None:
    facts = Facts(surface=Surface.GENERATIONS, asked_model="pic", size="1792x1024", response_format="url")
    found = plan(facts, PLAIN, contracted(a="gpt-image-2", b="gpt-image-1.5", c="open"))
    assert isinstance(found, Plan)
    assert [[change.stamp for change in target.changes] for target in found.targets] == [
        ["dropped:response_format"],
        ["translated:size", "dropped:response_format"],
        [],
    ]
    assert [target.facts.size for target in found.targets if target.facts] == ["1792x1024", "1536x1024", "1792x1024"]


def test_a_dead_model_means_its_successor_unless_it_has_a_route() -> None:
    whole = replace(house(), legacy=LEGACY)
    found = plan(ask("dall-e-3"), PLAIN, whole)
    assert isinstance(found, Plan)
    assert (found.asked_model, found.route.name) == ("dall-e-3", "gpt-image-2")
    assert all(target.translated_model for target in found.targets)
    assert isinstance(plan(ask("dall-e-9"), PLAIN, whole), Refusal)
    own = replace(whole, routes={**whole.routes, "dall-e-3": replace(whole.routes["gpt-image-2"], name="dall-e-3")})
    kept = plan(ask("dall-e-3"), PLAIN, own)
    assert isinstance(kept, Plan)
    assert kept.route.name == "dall-e-3"
    assert not any(target.translated_model for target in kept.targets)


def test_the_tools_options_are_held_against_the_contract_of_its_row() -> None:
    whole = contracted(a="gpt-image-2", b="gpt-image-1.5")
    turn = replace(ask("chat", Surface.RESPONSES, "pic"), size="2048x2048")
    found = plan(turn, PLAIN, whole)
    assert isinstance(found, Plan)
    assert [target.channel.name for target in found.targets] == ["a"]
    assert reasons(found) == [("b/chat", "contract:size")]
    assert isinstance(plan(replace(turn, size="9x9"), PLAIN, whole), Refusal)


def test_without_a_tool_model_the_text_rows_own_contract_counts() -> None:
    chat = replace(row("chat", serves=TURNS), contract=contract("gpt-image-2"))
    route = Route(name="chat", targets=(RouteTarget(channel="a", row="chat"),))
    whole = table([channel("a", [chat])], [route])
    turn = replace(ask("chat", Surface.RESPONSES, None), size="9x9")
    assert isinstance(plan(turn, PLAIN, whole), Refusal)
    assert isinstance(plan(replace(turn, tool=None), PLAIN, whole), Plan)
    named = ToolFacts(asked_model="unheard-of", forced=False)
    assert isinstance(plan(replace(turn, tool=named), PLAIN, whole), Plan)


def test_a_dead_name_of_the_tool_means_its_successor_too() -> None:
    whole = replace(house(), legacy=LEGACY)
    found = plan(ask("gpt-5.5", Surface.RESPONSES, "gpt-image-1"), PLAIN, whole)
    assert isinstance(found, Plan)
    first = found.targets[0]
    assert (first.tool_sent_model, first.translated_model) == ("gpt-image-2-2026-04-21", True)
    assert found.excluded[0].reason == "tool_model_unavailable"
    alone = plan(ask("gpt-5.5", Surface.RESPONSES, "gpt-image-1"), PLAIN, house())
    assert isinstance(alone, Plan)
    assert (alone.targets[0].tool_sent_model, alone.targets[0].translated_model) == ("gpt-image-1", False)
