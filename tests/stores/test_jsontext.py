import json
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.types import JsonValue, Outcome
from gateway.stores.jsontext import encode

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None))
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(st.text(), values, max_size=4))
def test_any_json_value_becomes_one_line_of_json(document: dict[str, JsonValue]) -> None:
    line = encode(document)
    assert b"\n" not in line
    assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (2**64, str(2**64)),
        (-(10**400), str(-(10**400))),
        (2**64 - 1, 2**64 - 1),
        (10**6000, "(integer of 19932 bits)"),
        ("a\ud800b", "a?b"),
        (Outcome.UNKNOWN, "unknown"),
        (MappingProxyType({"a": (1, 2.5, True)}), {"a": [1, 2.5, True]}),
    ],
    ids=["over 64 bits", "negative", "64 bits", "beyond printing", "half a character", "word", "foreign mapping"],
)
def test_what_orjson_refuses_is_written_as_the_nearest_thing(value: JsonValue, text: JsonValue) -> None:
    assert json.loads(encode({"v": value}))["v"] == text


def test_a_document_deeper_than_any_answer_is_cut() -> None:
    deep: JsonValue = 1
    for _ in range(5_000):
        deep = [deep]
    assert b"(too deep)" in encode({"deep": deep})
