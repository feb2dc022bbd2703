"""Which prices an attempt is charged by."""

import pytest
from msgspec.structs import replace

from gateway.core.errand import Errand
from gateway.core.money import Cost, CostState, nothing
from gateway.core.plan import Plan, Target
from gateway.core.policy import plan
from gateway.core.prices import Price
from gateway.core.purchase import cost_of, quote_of
from gateway.core.seen import Reading
from gateway.core.table import Route, RouteTable, RouteTarget
from gateway.core.types import Directives, Facts, Outcome, Surface, ToolFacts
from tests.core.priced import GPT_5_5, GPT_IMAGE_2, PER_IMAGE, came, picture, usage
from tests.core.tables import TURNS, channel, row, table

USED = {"input_tokens": 100, "output_tokens": 10}


def routes(pictures: Price | None = GPT_IMAGE_2) -> RouteTable:
    """One channel with a text row and a row for pictures, and another that has the same row at another price."""
    here = [
        replace(row("chat", serves=TURNS), price=GPT_5_5),
        replace(row("pic", "gpt-image-2-2026-04-21"), price=pictures),
    ]
    there = [replace(row("pic"), price=PER_IMAGE)]
    chat = Route(name="chat", targets=(RouteTarget(channel="a", row="chat"),))
    return table([channel("a", here), channel("b", there)], [chat])


def turn(tool_model: str | None) -> Facts:
    tool = ToolFacts(asked_model=tool_model, forced=True)
    return Facts(
        surface=Surface.RESPONSES, asked_model="chat", tool=tool, prompt_chars=40, size="1024x1024", quality="medium"
    )


def target(facts: Facts, known: RouteTable) -> Target:
    planned = plan(facts, Directives(), known)
    assert isinstance(planned, Plan)
    return planned.targets[0]


def delivered(facts: Facts, known: RouteTable, tool_model: str | None = None) -> Cost:
    reading = replace(came(picture(), used={**USED, "tool_usage": {"image_gen": usage()}}), tool_model=tool_model)
    return cost_of(target(facts, known), facts, known, Outcome.DELIVERED, reading)


def test_the_tools_pictures_are_charged_at_the_row_of_its_model_on_the_same_channel() -> None:
    cost = delivered(turn("pic"), routes())
    assert (cost.amount_micro, cost.state) == (800 + 52_730, CostState.EXACT)
    assert {one.price_id for one in cost.lines} == {GPT_5_5.id, GPT_IMAGE_2.id}


@pytest.mark.parametrize("said", ["pic", "gpt-image-2-2026-04-21"])
def test_a_model_that_the_request_leaves_open_is_the_one_the_answer_names(said: str) -> None:
    assert delivered(turn(None), routes(), said).amount_micro == 800 + 52_730


@pytest.mark.parametrize("said", [None, "gpt-image-9"])
def test_a_model_that_nobody_names_or_knows_here_has_no_price(said: str | None) -> None:
    assert delivered(turn(None), routes(), said).state is CostState.MISSING
    assert delivered(turn("pic"), routes(None)).state is CostState.MISSING


def test_a_quote_is_what_the_attempt_may_cost_at_most() -> None:
    known, facts = routes(), turn("pic")
    quoted = quote_of(target(facts, known), facts, known)
    assert (quoted.amount_micro, quoted.exposure_micro) == (50 + 50 + 52_680, 52_780)


def test_the_facts_in_the_targets_own_words_go_before_the_callers() -> None:
    known = routes()
    facts = Facts(surface=Surface.GENERATIONS, asked_model="pic", n=2, size="1024x1024", quality="hd")
    to = Target(
        channel=known.channels["a"],
        row=known.channels["a"].rows["pic"],
        sent_model="m",
        tool_sent_model=None,
        patience_s=1.0,
    )
    assert quote_of(to, facts, known).amount_micro == 2 * 210_720
    assert quote_of(replace(to, facts=replace(facts, quality="low")), facts, known).amount_micro == 2 * 5_880
    lost = cost_of(to, facts, known, Outcome.UNKNOWN, Reading(shaped=True))
    assert lost == quote_of(to, facts, known)


def test_counting_tokens_is_free_where_tokens_are_charged_for() -> None:
    known, facts = routes(), replace(turn(None), errand=Errand.INPUT_TOKENS, tool=None)
    to = target(facts, known)
    reading = Reading(shaped=True)
    assert cost_of(to, facts, known, Outcome.DELIVERED, reading) == quote_of(to, facts, known) == nothing("USD")
    unpriced = replace(to, row=replace(to.row, price=None))
    assert cost_of(unpriced, facts, known, Outcome.DELIVERED, reading).state is CostState.MISSING
