"""What is left out of a JSON body ends exactly where it should, and never makes JSON of what is none."""

import base64
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.jsonbody import LONG, JsonFault, RequestJson, RequestScan, parse

PAYLOAD = base64.b64encode(bytes(range(256)) * 20).decode()
URL = "data:image/gif;base64," + PAYLOAD
NOT_JSON = "We could not parse the JSON body of your request. It must be one JSON object and nothing else."
SIZES = [None, 1, 7, 70]


def scan(body: bytes, size: int | None = None) -> RequestJson | JsonFault:
    scanner = RequestScan()
    step = size or max(1, len(body))
    for start in range(0, len(body), step):
        scanner.feed(body[start : start + step])
    return scanner.finish()


def understood(body: bytes, size: int | None = None) -> RequestJson:
    found = scan(body, size)
    assert isinstance(found, RequestJson)
    return found


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(("length", "left_out"), [(LONG - 1, 0), (LONG, 0), (LONG + 1, 1)])
def test_length_alone_decides_what_is_left_out(length: int, left_out: int, size: int | None) -> None:
    head = "data:;base64,"
    body = json.dumps({"image": head + "A" * (length - len(head))}).encode()
    assert len(understood(body, size).data_urls) == left_out


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("strange", ["é", "-", "%2B", " ", "\\\\", '\\"', "\\u00e9", "\\ud83d\\ude00", "\\b"])
@pytest.mark.parametrize("start", ['"image":"' + URL, '"image" : "DATA:;BASE64,' + PAYLOAD, '"result":"' + PAYLOAD])
def test_from_a_strange_character_on_a_string_stays(start: str, strange: str, size: int | None) -> None:
    rest = strange + "x" * 100
    body = f'{{{start}{rest}","model":"m"}}'.encode()
    found = understood(body, size)
    assert [picture.image for picture in found.data_urls] == [None]
    text = found.document.get("image", found.document.get("result"))
    assert text == found.data_urls[0].placeholder + json.loads(f'"{rest}"')
    assert found.model is not None
    assert body[slice(*found.model)] == b'"m"'


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "text",
    [
        "data: " + "x" * LONG,
        "data:image/svg+xml," + "x" * LONG,
        "data:image/svg+xml,;base64," + "x" * LONG,
        "xdata:;base64," + "x" * LONG,
        "a \\ data:;base64," + "x" * LONG,
        'say "data:;base64,' + "x" * LONG,
        'say \\"data:;base64,' + "x" * LONG,
        '"result":"' + PAYLOAD,
        "data:" + "x" * 300 + ";base64," + "x" * LONG,
        'data:"data:"' * 1000,
        "data:\\" * 1000,
    ],
)
def test_texts_that_are_no_pictures_stay(text: str, size: int | None) -> None:
    found = understood(json.dumps({"prompt": text, "result": "as told", "model": "m"}).encode(), size)
    assert (found.document["prompt"], found.data_urls) == (text, ())


@pytest.mark.parametrize("size", SIZES)
def test_a_picture_as_model_or_key_keeps_the_places_right(size: int | None) -> None:
    body = json.dumps({URL: 1, "model": URL, "tools": [{"type": "image_generation", "model": "t"}]}).encode()
    found = understood(body, size)
    assert found.model is not None
    assert body[slice(*found.model)] == f'"{URL}"'.encode()
    assert [body[slice(*place)] for place in found.tool_models] == [b'"t"']


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "text",
    [
        f'"{URL}"',
        f'{{"a":"{URL}',
        f'{{"a":"{URL}\\',
        f'{{"a":"{URL}\\"}}',
        f'{{"a":"{URL}\\x"}}',
        f'{{"a":"{URL}\n"}}',
        f'{{"a":"{URL}""{URL}"}}',
        f'{{"a"{URL}"}}',
        f'{{"a":"x"result":"{PAYLOAD}"}}',
        '{"a":"data:',
        '{"a":"dat',
        '"data:"data:"data:',
        '{"a":"data:;base64,' + "\\q" * LONG + '"}',
        '{"a":"data:image\\q;base64,' + "A" * LONG + '"}',
    ],
)
def test_what_is_no_json_stays_no_json(text: str, size: int | None) -> None:
    assert scan(text.encode(), size) == JsonFault(message=NOT_JSON)


FRAGMENTS = [
    *(
        '{"a":',
        '"result":"',
        '"data:',
        '"DATA:;base64,',
        "data:;base64,",
        '"',
        '","b":"',
        '"}',
        "}",
        ",",
        ":",
        "[",
        "]",
    ),
    *("\\", '\\"', "\\n", "\\/", "\\u002b", "\\u00", "\\ud800", "é", "\n", " ", "1", "A" * 2048, "A" * 4096, "="),
]


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(['{"a":"data:;base64,', '{"result":"']), st.lists(st.sampled_from(FRAGMENTS), max_size=14))
def test_a_body_is_refused_with_its_pictures_left_out_just_when_it_is_with_them(start: str, rest: list[str]) -> None:
    body = (start + "".join(rest)).encode()
    left_out, whole = scan(body), parse(body)
    assert isinstance(left_out, JsonFault) == isinstance(whole, JsonFault)
