import pytest
from msgspec.structs import replace

from gateway.core.result_check import Sent, differences, sent_to
from gateway.core.seen import Reading
from gateway.core.table import Route
from gateway.core.terms import OPEN_CONTRACT
from gateway.core.types import Facts, ImageFacts
from tests.core.contract_cases import contract, edit, generation, picture, turn
from tests.core.tables import planned, three_targets

NAMES = frozenset({"gpt-image-2-2026-04-21"})


def sent(facts: Facts, name: str = "gpt-image-2", names: frozenset[str] = NAMES) -> Sent:
    return Sent(facts=facts, contract=contract(name), names=names)


def test_what_was_asked_for_is_no_difference() -> None:
    facts = generation(size="1536x1024", quality="high", output_format="webp", background="transparent", n=2)
    came = picture("webp", 1536, 1024, alpha=True)
    reading = Reading(
        shaped=True, pictures=(came, came), size="1536x1024", quality="high", output_format="webp", served_model=None
    )
    assert differences(sent(facts), reading) == ()


def test_peers_52a_a_smaller_picture_of_another_model_with_status_200() -> None:
    """sub2api#6120: 2448x3264 at high was asked for; 1086x1448 came, of a model that calls itself another."""
    facts = generation(size="2448x3264", quality="high")
    came = Reading(
        shaped=True,
        pictures=(picture("png", 1086, 1448),),
        size="auto",
        quality="auto",
        served_model="gpt-image-2-codex",
    )
    assert differences(sent(facts, names=frozenset({"gpt-image-2"})), came) == (
        "size_mismatch",
        "quality_mismatch",
        "model_mismatch",
    )


def test_peers_52e_transparency_that_is_lost_on_edits() -> None:
    """CLIProxyAPI#5864: transparent on generations, silently opaque on edits."""
    facts = edit(picture(), background="transparent")
    assert differences(sent(facts), Reading(pictures=(picture(alpha=False),))) == ("alpha_missing",)
    assert differences(sent(facts), Reading(pictures=(picture(alpha=True),))) == ()
    assert differences(sent(facts), Reading(pictures=(picture(alpha=None),))) == ()


@pytest.mark.parametrize(
    ("names", "served", "differs"),
    [
        ({"gpt-image-2"}, "gpt-image-2", False),
        ({"gpt-image-2"}, "gpt-image-2-2026-04-21", False),
        ({"gpt-image-2-2026-04-21"}, "gpt-image-2", False),
        ({"gpt-image-2-2026-04-21"}, "gpt-image-2-2026-09-01", True),
        ({"gpt-image-2"}, "gpt-image-2-codex", True),
        ({"gpt-image-2"}, "gpt-image-1.5", True),
        ({"gpt-image-2"}, None, False),
        (set(), "anything", False),
    ],
)
def test_a_dated_snapshot_is_the_same_model_and_nothing_else_is(
    names: set[str], served: str | None, differs: bool
) -> None:
    reading = Reading(pictures=(picture(),), served_model=served)
    assert differences(sent(generation(), names=frozenset(names)), reading) == (("model_mismatch",) if differs else ())


def test_the_model_of_the_tool_counts_too() -> None:
    asked = Sent(
        facts=turn(),
        contract=contract("gpt-image-2"),
        names=frozenset({"gpt-5.5"}),
        tool_names=frozenset({"gpt-image-2"}),
    )
    reading = Reading(pictures=(picture(),), served_model="gpt-5.5-2026-04-23", tool_model="gpt-image-1")
    assert differences(asked, reading) == ("model_mismatch",)
    assert differences(asked, replace(reading, tool_model="gpt-image-2")) == ()


@pytest.mark.parametrize(
    ("facts", "reading", "expected"),
    [
        (generation(n=2), Reading(pictures=(picture(),)), ("count_mismatch",)),
        (generation(n=2), Reading(pictures=(picture(),), url_count=1), ()),
        (generation(), Reading(pictures=(picture(), picture())), ("count_mismatch",)),
        (turn(), Reading(), ()),
        (generation(), Reading(pictures=(picture("jpeg"),)), ("format_mismatch",)),
        (generation(output_format="webp"), Reading(pictures=(picture("png"),)), ("format_mismatch",)),
        (generation(output_format="webp"), Reading(url_count=1, output_format="png"), ("format_mismatch",)),
        (generation(size="1024x1536"), Reading(url_count=1, size="1024x1024"), ("size_mismatch",)),
        (generation(), Reading(pictures=(picture("unknown", None, None),)), ("not_an_image",)),
        (generation(size="1024x1536"), Reading(pictures=(picture("png", None, None),)), ()),
        (generation(size="auto", quality="auto"), Reading(pictures=(picture("png", 9, 9),), quality="low"), ()),
        (
            generation(size="1024x1024", output_format="svg"),
            Reading(pictures=(picture("svg", 100, 100, alpha=None),)),
            (),
        ),
    ],
)  # fmt: skip
def test_differences_are_named(facts: Facts, reading: Reading, expected: tuple[str, ...]) -> None:
    assert differences(sent(facts), reading) == expected


def test_under_open_a_format_that_nobody_asked_for_is_no_difference() -> None:
    asked = Sent(facts=generation(), contract=OPEN_CONTRACT, names=frozenset())
    assert differences(asked, Reading(pictures=(picture("jpeg"),))) == ()


@pytest.mark.parametrize(
    ("name", "options", "tokens", "differs"),
    [
        ("gpt-image-2", {"quality": "high"}, 7024, False),
        ("gpt-image-2", {"quality": "high"}, 1756, True),
        ("gpt-image-2", {"quality": "low"}, 196, False),
        ("gpt-image-2", {"quality": "medium", "partial_images": 2}, 1956, False),
        ("gpt-image-2", {"quality": "auto"}, 1756, False),
        ("gpt-image-2.5-flare", {"quality": "high"}, 1756, False),
        ("gpt-image-2.5-flare", {"quality": "high"}, 7024, True),
        ("gpt-image-1.5", {"quality": "high"}, 4160, False),
        ("gpt-image-1.5", {"quality": "high"}, 1056, True),
        ("gpt-image-2.6-flare", {"quality": "high"}, 1, False),
        ("gpt-image-2", {"quality": "unheard-of"}, 1, False),
        ("gpt-image-2", {"quality": "high"}, None, False),
    ],
)
def test_tokens_tell_of_another_model(name: str, options: dict[str, object], tokens: int | None, differs: bool) -> None:
    said = "medium" if options["quality"] == "auto" else None
    reading = Reading(pictures=(picture(),), quality=said, image_tokens=tokens)
    found = differences(sent(generation(**options), name), reading)
    assert found == (("tokens_mismatch",) if differs else ())


@pytest.mark.parametrize("image", [picture("gif"), picture("png", None, None)])
def test_tokens_of_what_is_no_still_picture_are_not_counted(image: ImageFacts) -> None:
    reading = Reading(pictures=(image,), image_tokens=1)
    assert differences(sent(generation(quality="high", output_format=image.format)), reading) == ()


def test_the_vectors_of_the_calculator_are_the_tables() -> None:
    vectors = {(1024, 1536): (158, 1372, 5488), (3840, 2160): (371, 3336, 13342), (2048, 2048): (397, 3568, 14272)}
    for (width, height), counts in vectors.items():
        for quality, count in zip(("low", "medium", "high"), counts, strict=True):
            reading = Reading(pictures=(picture("png", width, height),), image_tokens=count)
            assert differences(sent(generation(quality=quality)), reading) == ()


def test_what_a_target_was_asked_is_told_by_its_own_words() -> None:
    plan = planned(Route(name="m", targets=three_targets()))
    target = replace(plan.targets[0], contract=contract("gpt-image-2"), sent_model="relay-77", tool_sent_model="tool-1")
    asked = sent_to(target, generation(size="1x1"))
    assert asked.names == {"relay-77", "m", "gpt-image-2"}
    assert asked.tool_names == {"tool-1", "gpt-image-2"}
    assert asked.facts.size is None  # those of the plan, after translation
    dated = sent_to(replace(target, sent_model="gpt-image-2-2026-04-21", tool_sent_model=None), generation())
    assert (dated.names, dated.tool_names) == (NAMES, frozenset())
    assert sent_to(replace(target, facts=None), generation(size="1x1")).facts.size == "1x1"
