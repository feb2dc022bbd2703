import pytest
from msgspec.structs import replace

from gateway.config.contracts import legacy
from gateway.core.contracts import check
from gateway.core.legacy import Legacy, successor
from gateway.core.translation import Change, translate
from tests.core.contract_cases import contract, edit, generation, picture

LEGACY = legacy()


@pytest.mark.parametrize(
    ("name", "options", "stamps"),
    [
        ("gpt-image-2", {"response_format": "b64_json"}, ["dropped:response_format"]),
        ("gpt-image-2", {"response_format": "url", "style": "vivid"}, ["dropped:response_format", "dropped:style"]),
        ("gpt-image-2", {"n": 2}, []),
        ("gpt-image-2", {"quality": "hd"}, ["translated:quality"]),
        ("gpt-image-2", {"quality": "standard"}, ["translated:quality"]),
        ("gpt-image-2", {"quality": "high", "size": "1024x1024"}, []),
        ("gpt-image-2", {"size": "1792x1024"}, []),
        ("gpt-image-1.5", {"size": "1792x1024"}, ["translated:size"]),
        ("gpt-image-1.5", {"size": "512x512"}, ["translated:size"]),
        ("gpt-image-2", {"size": "512x512"}, ["translated:size"]),
        ("gpt-image-2", {"size": "640x640"}, []),
        ("gemini-3-pro-image", {"size": "1792x1024"}, []),
        ("grok-imagine-image", {"size": "1792x1024", "response_format": "url"}, []),
        ("open", {"response_format": "url", "quality": "hd", "size": "256x256", "style": "vivid"}, []),
    ],
)
def test_old_words_become_new_ones_only_where_the_old_are_not_taken(
    name: str, options: dict[str, str | int], stamps: list[str]
) -> None:
    translated = translate(generation(**options), contract(name), LEGACY)
    assert sorted(change.stamp for change in translated.changes) == stamps


def test_input_fidelity_is_dropped_from_1_5_to_2_and_kept_where_it_is_known() -> None:
    facts = edit(picture(), input_fidelity="high")
    dropped = translate(facts, contract("gpt-image-2"), LEGACY)
    assert dropped.changes == (Change(param="input_fidelity"),)
    assert dropped.facts.input_fidelity is None
    kept = translate(facts, contract("gpt-image-1.5"), LEGACY)
    assert kept.changes == ()
    assert kept.facts is facts


def test_what_was_translated_passes_the_contract() -> None:
    facts = generation(quality="hd", size="1024x1792", style="natural", response_format="url")
    translated = translate(facts, contract("gpt-image-1.5"), LEGACY)
    assert (translated.facts.quality, translated.facts.size) == ("high", "1024x1536")
    assert check(translated.facts, contract("gpt-image-1.5")) == ()
    assert check(facts, contract("gpt-image-1.5")) != ()


def test_a_value_is_not_translated_into_one_that_is_not_taken_either() -> None:
    odd = replace(contract("gpt-image-2"), words={"quality": ("auto",)})
    assert translate(generation(quality="hd"), odd, LEGACY).changes == ()


def test_a_dead_model_has_a_successor_among_the_routes() -> None:
    assert successor(LEGACY, "dall-e-3", {"gpt-image-2", "gpt-image-1.5"}) == "gpt-image-2"
    assert successor(LEGACY, "gpt-image-1", {"gpt-image-2.5-flare", "gpt-image-2"}) == "gpt-image-2.5-flare"
    assert successor(LEGACY, "dall-e-3", {"pic"}) is None
    assert successor(LEGACY, "gpt-image-2", {"gpt-image-2"}) is None
    assert successor(Legacy(), "dall-e-3", {"gpt-image-2"}) is None
