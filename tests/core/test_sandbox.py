"""Directives and options: what counts, what stays prompt text, what is refused."""

from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.sandbox import Mishap, Script, Shape, script, shape
from gateway.core.types import ErrorBody, Facts, Surface


@pytest.mark.parametrize(
    ("prompt", "told"),
    [
        ("a fox", Script(prompt="a fox")),
        ("a fox [delay 2s]", Script(prompt="a fox", delay_s=2)),
        ("[delay 1500ms] a fox", Script(prompt="a fox", delay_s=1.5)),
        ("a [delay 0.5s] fox", Script(prompt="a fox", delay_s=0.5)),
        ("a fox [fail 429]", Script(prompt="a fox", fail=429)),
        ("a fox [fail 599][delay 1s]", Script(prompt="a fox", fail=599, delay_s=1)),
        ("[fail quota]", Script(prompt="", fail=Mishap.QUOTA)),
        ("[fail hang] [fail 500] a", Script(prompt="a", fail=Mishap.HANG)),
        ("[delay 600s]", Script(prompt="", delay_s=600)),
    ],
)
def test_directives_are_taken_out(prompt: str, told: Script) -> None:
    assert script(prompt) == told


@pytest.mark.parametrize(
    "prompt",
    [
        *("[delay 601s]", "[delay 2]", "[delay 2 s]", "[delay -1s]", "[delay ٢s]", "[fail 200]", "[fail 302]"),
        *("[fail slowly]", "[fail]", "[fail 4290]", "fail 429", "[FAIL 429]", "[fail 429", "a  picture of [brackets]"),
        " spaced  ",
    ],
)
def test_what_is_not_a_directive_is_prompt_text(prompt: str) -> None:
    assert script(prompt) == Script(prompt=prompt)


@given(st.text(alphabet="[]failde y0429.ms", max_size=60))
@settings(max_examples=200)
def test_any_prompt_gives_a_script(prompt: str) -> None:
    told = script(prompt)
    assert 0 <= told.delay_s <= 600
    assert len(told.prompt) <= len(prompt)


def asked(**fields: object) -> Facts:
    return Facts(surface=Surface.GENERATIONS, asked_model="m", **fields)  # type: ignore[arg-type]


def test_absent_options_resolve_as_the_api_does() -> None:
    expected = Shape(width=1024, height=1024, format="png", quality="medium", transparent=False, compression=100, n=1)
    assert shape(asked()) == expected
    assert shape(asked(size="auto", quality="auto", background="auto")) == expected


@pytest.mark.parametrize("size", ["16x16", "3840x2160", "2160x3840", "2880x2880", "1000x37"])
def test_any_size_up_to_4k(size: str) -> None:
    assert cast(Shape, shape(asked(size=size))).size == size


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "4096x1024"}, "size"),
        ({"size": "3840x2161"}, "size"),
        ({"size": "0x0"}, "size"),
        ({"size": "15x1024"}, "size"),
        ({"size": "1024"}, "size"),
        ({"size": "1024X1024"}, "size"),
        ({"size": "99999999x1"}, "size"),
        ({"quality": "ultra"}, "quality"),
        ({"output_format": "bmp"}, "output_format"),
        ({"background": "blue"}, "background"),
        ({"background": "transparent", "output_format": "jpeg"}, "background"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"output_compression": 101}, "output_compression"),
    ],
)
def test_a_bad_option_is_named(fields: dict[str, object], param: str) -> None:
    words = shape(asked(**fields))
    assert isinstance(words, ErrorBody)
    assert (words.param, words.code, words.type) == (param, "invalid_value", "invalid_request_error")
