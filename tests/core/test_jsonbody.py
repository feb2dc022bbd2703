"""JSON bodies as they pass: strict, with places that are right in the body as it came, and without its pictures."""

import base64
import hashlib
import json
import os
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.jsonbody import LONG, MAX_SKELETON, JsonFault, RequestJson, RequestScan, parse

PICTURE = (
    b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x10\x00\x00\x00\x08\x08\x06\x00\x00\x00"
    + bytes(range(256)) * 20
    + b"xy"
)
PAYLOAD = base64.b64encode(PICTURE).decode()
LONG_URL = f"data:image/png;base64,{PAYLOAD}"
SHORT_URL = f"data:image/png;base64,{base64.b64encode(PICTURE[:29]).decode()}"
TWICE = "A key stands twice in one object."


def scan(body: bytes, cuts: list[int] | None = None) -> RequestJson | JsonFault:
    scanner = RequestScan()
    for start, end in pairwise([0, *sorted(min(cut, len(body)) for cut in cuts or []), len(body)]):
        scanner.feed(body[start:end])
    return scanner.finish()


def read(body: bytes | str | Mapping[str, Any], cuts: list[int] | None = None) -> RequestJson:
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    found = scan(raw, cuts)
    assert isinstance(found, RequestJson), found
    return found


def fault(body: bytes | str) -> JsonFault:
    found = scan(body if isinstance(body, bytes) else body.encode())
    assert isinstance(found, JsonFault), found
    return found


def renamed(body: bytes, found: RequestJson, name: str, tool: str) -> dict[str, Any]:
    """The body with its models replaced at the places that were found, read by another parser."""
    places = [(place, tool) for place in found.tool_models] + ([(found.model, name)] if found.model else [])
    for (start, end), word in sorted(places, reverse=True):
        body = body[:start] + json.dumps(word).encode() + body[end:]
    document: dict[str, Any] = json.loads(body)
    return document


MODELS = {
    "plain": '{"model":"m","prompt":"p"}',
    "white space": '\n { "model" \t:\r\n "m" , "prompt" : "p" } \n',
    "escaped key": '{"mod\\u0065l":"m"}',
    "escaped value": '{"model":"a\\"b\\\\"}',
    "last": '{"prompt":"p","model":"m"}',
    "in the metadata first": '{"metadata":{"model":"x"},"model":"m","more":[{"model":"y"}]}',
    "in texts": '{"prompt":"say \\"model\\":\\"x\\"","a":"{\\"model\\":\\"x\\"}","model":"m"}',
    "as a value": '{"a":"model","model":"m","b":["model"]}',
    "after letters of many bytes": '{"prompt":"größer 🎨 \\u00fc","model":"ünï","z":"ö"}',
    "after a picture": f'{{"i":"{LONG_URL}","model":"m","j":"{LONG_URL}"}}',
    "null": '{"model":null,"prompt":"p"}',
    "no model": '{"prompt":"p","metadata":{"model":"x"}}',
    "tools": '{"model":"m","tools":[{"type":"function","model":"f"},{"type":"image_generation","model":"i"},'
    '{"model":"k","type":"image_generation","x":{"model":"q"}},{"type":"image_generation"},null,5,[]]}',
    "tools after a picture": f'{{"i":"ü{LONG_URL}","j":"{LONG_URL}",'
    '"tools":[ {"type":"image_generation","model":"i"}]}',
    "tools in the metadata": '{"metadata":{"tools":[{"type":"image_generation","model":"x"}]},"model":"m"}',
    "escaped tool": '{"t\\u006fols":[{"typ\\u0065":"image\\u005fgeneration","mod\\u0065l":"i"}]}',
}


@pytest.mark.parametrize("body", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("size", [1, 7, 10_000_000])
def test_the_models_are_replaced_and_nothing_else(body: str, size: int) -> None:
    raw = body.encode()
    found = read(raw, list(range(0, len(raw), size)))
    wanted = json.loads(raw)
    wanted |= {"model": "new"} if "model" in wanted else {}
    for tool in wanted.get("tools", []):
        if isinstance(tool, dict) and tool.get("type") == "image_generation" and "model" in tool:
            tool["model"] = "newer"
    assert renamed(raw, found, "new", "newer") == wanted
    assert raw[: found.insert_at].strip() == b"{"


@pytest.mark.parametrize("model", [5, True, ["m"], {"model": "m"}])
def test_a_model_that_is_no_word_has_no_place(model: object) -> None:
    assert read({"model": model}).model is None


keys = st.sampled_from(["model", "tools", "type", "result", "url", "é", 'a"model', "data:x"]) | st.text(max_size=5)
texts = st.text(max_size=20) | st.sampled_from(
    ["model", '"model":"x"', '{"model":"x"}', "\\", "image_generation", LONG_URL, SHORT_URL, PAYLOAD, "data:,", "😀"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=10,
)
tools = st.lists(
    values | st.fixed_dictionaries({"type": st.just("image_generation")}, optional={"model": texts, "x": values}),
    max_size=4,
)
bodies = st.builds(
    lambda some, model, tool: {**some, **model, **tool},
    st.dictionaries(keys, values, max_size=5),
    st.fixed_dictionaries({}, optional={"model": texts}),
    st.fixed_dictionaries({}, optional={"tools": tools}),
)


@settings(max_examples=150, deadline=None)
@given(
    body=bodies,
    indent=st.sampled_from([None, 1]),
    ascii_only=st.booleans(),
    slashes=st.booleans(),
    cuts=st.lists(st.integers(0, 12_000), max_size=9),
)
def test_any_body_in_any_slices(
    body: dict[str, Any], indent: int | None, ascii_only: bool, slashes: bool, cuts: list[int]
) -> None:
    text = json.dumps(body, indent=indent, ensure_ascii=ascii_only)
    raw = (text.replace("/", "\\/") if slashes else text).encode()
    found = read(raw, cuts)
    assert found == read(raw)
    replaced = renamed(raw, found, "new", "newer")
    if isinstance(body.get("model"), str):
        assert replaced["model"] == "new"
    body_tools = body.get("tools")
    for tool in body_tools if isinstance(body_tools, list) else []:
        if isinstance(tool, dict) and tool.get("type") == "image_generation" and isinstance(tool.get("model"), str):
            tool["model"] = "newer"
    assert {**replaced, "model": body.get("model")} == {**body, "model": body.get("model")}


def test_a_long_picture_is_measured_and_left_out() -> None:
    found = read({"input": [{"image_url": LONG_URL}, {"image_url": SHORT_URL}, {"image_url": LONG_URL[:-1]}]})
    (long, short, cut) = [item["image_url"] for item in json.loads(json.dumps(found.document))["input"]]
    picture = found.picture(long)
    assert picture is not None
    assert (picture.sha256, picture.bytes) == (hashlib.sha256(PICTURE).hexdigest(), len(PICTURE))
    assert (picture.format, picture.width, picture.height, picture.alpha) == ("png", 16, 8, True)
    assert len(long) < 100
    assert short == SHORT_URL
    small = found.picture(short)
    assert small is not None
    assert small.bytes == 29
    assert found.picture(cut) is None
    assert [inline.image for inline in found.data_urls] == [picture, None]
    assert found.data_urls[0].placeholder == long


def test_a_picture_that_a_turn_gives_back_is_left_out_too() -> None:
    calls = [{"type": "image_generation_call", "result": PAYLOAD * 600} for _ in range(3)]
    assert len(PAYLOAD) * 600 * 3 > MAX_SKELETON
    body = {"model": "m", "input": [*calls, {"type": "image_generation_call", "result": PAYLOAD}]}
    found = read(body, list(range(0, 20_000_000, 65_536)))
    assert [inline.image.bytes if inline.image else 0 for inline in found.data_urls] == [len(PICTURE) * 600] * 3 + [
        len(PICTURE)
    ]
    assert renamed(json.dumps(body).encode(), found, "n", "") == {**body, "model": "n"}


@pytest.mark.parametrize("value", ["words " * LONG, "x" * 63 + " " * LONG, PAYLOAD[: LONG - 100], ""])
def test_a_result_that_is_no_long_picture_stays(value: str) -> None:
    assert read({"result": value, "model": "m"}).document == {"result": value, "model": "m"}


@pytest.mark.parametrize("size", [1, 3, 4096, 10_000_000])
@pytest.mark.parametrize(
    "payload",
    [
        PAYLOAD.replace("/", "\\/"),
        PAYLOAD.replace("/", "\\u002f").replace("+", "\\u002B"),
        "\\r\\n".join(PAYLOAD[at : at + 76] for at in range(0, len(PAYLOAD), 76)),
    ],
)
def test_an_escaped_picture_is_the_same_picture(payload: str, size: int) -> None:
    raw = f'{{"i":"data:image\\/png;base64,{payload}","model":"m"}}'.encode()
    found = read(raw, list(range(0, len(raw), size)))
    (inline,) = found.data_urls
    assert inline.image is not None
    assert inline.image.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert found.model is not None
    assert raw[slice(*found.model)] == b'"m"'


REFUSED = {
    "empty": (b"", None),
    "white space": (b" \n", None),
    "no object": (b"[]", None),
    "a string": (b'"model"', None),
    "two objects": (b'{"a":1}{"b":2}', None),
    "cut": (b'{"a":', None),
    "cut in a picture": (f'{{"a":"{LONG_URL}'.encode(), None),
    "trailing comma": (b'{"a":1,}', None),
    "a line end in a text": (b'{"a":"\n"}', None),
    "a line end in a picture": (f'{{"a":"{LONG_URL}\n{PAYLOAD}"}}'.encode(), None),
    "a bad escape in a picture": (f'{{"a":"{LONG_URL}\\x{PAYLOAD}"}}'.encode(), None),
    "single quotes": (b"{'a':1}", None),
    "a comment": (b'{"a":1/**/}', None),
    "twice": (b'{"model":"a","model":"b"}', "model"),
    "twice, escaped": (b'{"model":"a","mod\\u0065l":"b"}', "model"),
    "twice, within": (b'{"a":[{"b":{"deep":1,"deep":2}}]}', "deep"),
    "twice, by a name that is not shown": (b'{"<script>":1,"<script>":2}', None),
    "NaN": (b'{"a":NaN}', None),
    "infinity": (b'{"a":-Infinity}', None),
    "a number without end": (b'{"a":1e999}', None),
    "an integer of 1,001 digits": (b'{"a":' + b"9" * 1001 + b"}", None),
    "65 levels": (b'{"a":' + b"[" * 64 + b"]" * 64 + b"}", None),
    "100,000 levels": (b'{"a":' + b"[" * 100_000, None),
    "half a character": (b'{"a":"\\ud800"}', None),
    "the other half": (b'{"a":"\\uDC00 x"}', None),
    "a half in UTF-8": (b'{"a":"\xed\xa0\x80"}', None),
    "no UTF-8": (b'{"a":"\xff"}', None),
    "UTF-16": ('{"a":1}'.encode("utf-16"), None),
    "UTF-16 without a mark": ('{"a":1}'.encode("utf-16-be"), None),
    "a byte order mark": (b'\xef\xbb\xbf{"a":1}', None),
    "too many values": (b'{"a":[' + b"1," * 400_001 + b"1]}", None),
    "too much text": (b'{"a":"' + b"x" * MAX_SKELETON + b'"}', None),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_could_be_read_in_two_ways_is_refused(name: str) -> None:
    body, param = REFUSED[name]
    found = fault(body)
    assert found.param == param
    assert found.message.startswith("We could not parse the JSON body of your request")
    assert "script" not in found.message


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":' + b"[" * 63 + b"]" * 63 + b"}",
        b'{"a":' + b"9" * 1000 + b"}",
        b'{"a":"\\ud83d\\ude00 \\\\ud800","b":[[]]}',
        b'{"a":"' + b"[" * 200 + b'"}',
        b"{}",
    ],
)
def test_what_is_just_allowed_is_taken(body: bytes) -> None:
    assert read(body).document == json.loads(body) == parse(body)


def test_what_is_too_large_is_refused_while_it_comes() -> None:
    scanner = RequestScan()
    chunk = b'{"a":"' + b"x" * (MAX_SKELETON // 2)
    assert scanner.feed(chunk) is None
    refused = scanner.feed(chunk + chunk)
    assert refused is not None
    assert scanner.feed(chunk) == refused == scanner.finish()


@settings(max_examples=200, deadline=None)
@given(
    parts=st.lists(
        st.sampled_from(
            [b'{"a":"', b'"', b"\\", b"data:", b'"data:;base64,', PAYLOAD.encode(), b'"result":"', b"}", b"\\u00", b"="]
        )
        | st.binary(max_size=4),
        max_size=10,
    ),
    cuts=st.lists(st.integers(0, 9000), max_size=9),
)
def test_any_bytes_are_judged_the_same_in_any_slices(parts: list[bytes], cuts: list[int]) -> None:
    body = b"".join(parts)
    assert scan(body, cuts) == scan(body)


def test_a_body_of_32_mb_with_a_picture_takes_no_memory_for_it() -> None:
    scanner = RequestScan()
    scanner.feed(b'{"model":"m","i":"data:image/png;base64,')
    piece = base64.b64encode(os.urandom(48 * 1024))
    for _ in range(500):
        scanner.feed(piece)
        assert len(scanner._data) + len(scanner._skeleton) < len(piece)
    scanner.feed(b'"}')
    found = scanner.finish()
    assert isinstance(found, RequestJson)
    assert found.data_urls[0].image is not None
