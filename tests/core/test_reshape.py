"""Each case: an answer, what is wanted, and exactly how it reads then."""

import json
import re

import pybase64
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.core.answer_items import MOST_SKELETON, read_items
from gateway.core.delivery import Form
from gateway.core.extract import Extractor, Opened, Text, placeholder_json
from gateway.core.reshape import Reshaped, Span, Stock, reshape

PICTURE = pybase64.b64encode(bytes(range(90))).decode()  # long enough to be taken out
OURS = "https://waybill.example/assets/token"


def skeleton_of(text: str) -> bytes:
    """Give the text as the gateway keeps it: with a placeholder for each picture."""
    extractor, found, index = Extractor(), [], 0
    for piece in [*extractor.feed(text.encode()), *extractor.finish()]:
        if isinstance(piece, Text):
            found.append(piece.data)
        elif isinstance(piece, Opened):
            found.append(placeholder_json(index))
            index += 1
    return b"".join(found)


def shaped(text: str, wanted: Form | None, stock: Stock | None = None) -> tuple[str, Reshaped]:
    """Give the answer in the wanted form as text, pictures put in again, and what is said of it."""
    skeleton = skeleton_of(text)
    items = read_items(skeleton)
    stocks = [stock or Stock(picture=item.payload, link=OURS) for item in items]
    found = reshape(len(skeleton), items, wanted, stocks)
    pieces = found.pieces or (Span(0, len(skeleton)),)
    said = [
        skeleton[piece.start : piece.end]
        if isinstance(piece, Span)
        else PICTURE.encode()
        if isinstance(piece, int)
        else piece
        for piece in pieces
    ]
    whole = re.sub(rb"\\u0000waybill:\d+", PICTURE.encode(), b"".join(said))
    return whole.decode(), found


BASE64 = f'{{"created":1,"data":[{{"b64_json":"{PICTURE}"}}],"usage":{{"a":1.10}}}}'
LINK = '{"created": 1, "data": [{"url": "https://cdn.example/x.png?a=1"}]}'
CASES = {
    "base64 to url": (BASE64, Form.URL, f'{{"created":1,"data":[{{"url":"{OURS}"}}],"usage":{{"a":1.10}}}}'),
    "base64 as wanted": (BASE64, Form.B64_JSON, BASE64),
    "base64 as it came": (BASE64, None, BASE64),
    "base64 to both": (
        BASE64,
        Form.BOTH,
        f'{{"created":1,"data":[{{"b64_json":"{PICTURE}","url":"{OURS}"}}],"usage":{{"a":1.10}}}}',
    ),
    "other members stay": (
        f'{{"data":[ {{ "said" : "a \\"b64_json\\": \\u00e9" ,"b64_json" : "{PICTURE}", "x":[1,{{"url":2}}] }} ]}}',
        Form.URL,
        f'{{"data":[ {{ "said" : "a \\"b64_json\\": \\u00e9" ,"url":"{OURS}", "x":[1,{{"url":2}}] }} ]}}',
    ),
    "an empty url beside it": (
        f'{{"data":[{{"url":"","b64_json":"{PICTURE}","revised_prompt":""}}]}}',
        Form.URL,
        f'{{"data":[{{"url":"{OURS}","revised_prompt":""}}]}}',
    ),
    "an empty url after it": (
        f'{{"data":[{{"a":1 , "b64_json":"{PICTURE}" , "url":null}}]}}',
        Form.URL,
        f'{{"data":[{{"a":1 , "url":"{OURS}"}}]}}',
    ),
    "an empty url apart": (
        f'{{"data":[{{"url":"","a":1,"b64_json":"{PICTURE}"}}]}}',
        Form.URL,
        f'{{"data":[{{"url":"{OURS}","a":1}}]}}',
    ),
    "both to both": (
        f'{{"data":[{{"url":"https://cdn.example/","b64_json":"{PICTURE}"}}]}}',
        Form.BOTH,
        f'{{"data":[{{"url":"{OURS}","b64_json":"{PICTURE}"}}]}}',
    ),
    "both to base64: it is there": (
        f'{{"data":[{{"url":"https://cdn.example/","b64_json":"{PICTURE}"}}]}}',
        Form.B64_JSON,
        f'{{"data":[{{"url":"https://cdn.example/","b64_json":"{PICTURE}"}}]}}',
    ),
    "a data url to base64": (
        f'{{"data":[{{"url":"data:image/png;base64,{PICTURE}"}}]}}',
        Form.B64_JSON,
        f'{{"data":[{{"b64_json":"{PICTURE}"}}]}}',
    ),
    "a data url to url": (
        f'{{"data":[{{"url":"data:image/png;base64,{PICTURE}"}}]}}',
        Form.URL,
        f'{{"data":[{{"url":"{OURS}"}}]}}',
    ),
    "several": (
        f'{{"data":[{{"b64_json":"{PICTURE}"}},{{"x":1,"b64_json":"{PICTURE}"}}]}}',
        Form.URL,
        f'{{"data":[{{"url":"{OURS}"}},{{"x":1,"url":"{OURS}"}}]}}',
    ),
    "keys in other words": (
        f'{{"\\u0064ata":[{{"b64_json":"{PICTURE}"}}]}}',
        Form.URL,
        f'{{"\\u0064ata":[{{"url":"{OURS}"}}]}}',
    ),
    "no picture": ('{"data":[{}]}', Form.URL, '{"data":[{}]}'),
    "no item": ('{"data":[]}', Form.URL, '{"data":[]}'),
    "no list": ('{"data":{"b64_json":"x"}}', Form.URL, '{"data":{"b64_json":"x"}}'),
    "no data": ('{"created":1}', Form.URL, '{"created":1}'),
    "no object": ('{"data":["b64_json",1,null,[{"url":"x"}]]}', Form.URL, '{"data":["b64_json",1,null,[{"url":"x"}]]}'),
    "a member twice": (
        f'{{"data":[{{"b64_json":"{PICTURE}","b64_json":"{PICTURE}"}}]}}',
        Form.URL,
        f'{{"data":[{{"b64_json":"{PICTURE}","b64_json":"{PICTURE}"}}]}}',
    ),
    "data twice": (
        f'{{"data":[],"data":[{{"b64_json":"{PICTURE}"}}]}}',
        Form.URL,
        f'{{"data":[],"data":[{{"b64_json":"{PICTURE}"}}]}}',
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_reshaped(case: str) -> None:
    text, wanted, expected = CASES[case]
    said, found = shaped(text, wanted)
    assert said == expected
    assert bool(found.pieces) == (text != expected)
    assert not found.missed


def test_a_link_becomes_the_picture_that_was_brought_in() -> None:
    said, found = shaped(LINK, Form.B64_JSON, Stock(picture=0))
    assert said == f'{{"created": 1, "data": [{{"b64_json":"{PICTURE}"}}]}}'
    assert (found.form, found.missed) == (Form.B64_JSON, False)


def test_a_link_becomes_ours() -> None:
    said, found = shaped(LINK, Form.URL, Stock(picture=0, link=OURS))
    assert json.loads(said)["data"] == [{"url": OURS}]
    assert (found.form, found.missed) == (Form.URL, False)


def test_a_link_becomes_both() -> None:
    said, found = shaped(LINK, Form.BOTH, Stock(picture=0, link=OURS))
    assert json.loads(said)["data"] == [{"url": OURS, "b64_json": PICTURE}]
    assert (found.form, found.missed) == (Form.BOTH, False)


@pytest.mark.parametrize(
    ("text", "wanted", "form"),
    [
        (LINK, Form.B64_JSON, Form.URL),
        (BASE64, Form.URL, Form.B64_JSON),
        (LINK, Form.BOTH, Form.URL),
        (BASE64, Form.BOTH, Form.B64_JSON),
    ],
)
def test_what_is_not_at_hand_stays_as_it_came(text: str, wanted: Form, form: Form) -> None:
    said, found = shaped(text, wanted, Stock())
    assert said == text
    assert (found.form, found.missed, found.pieces) == (form, True, ())


def test_an_upstreams_link_is_a_url_when_there_is_none_of_ours() -> None:
    said, found = shaped(LINK, Form.URL, Stock())
    assert (said, found.form, found.missed) == (LINK, Form.URL, False)


def test_one_of_two_is_at_hand() -> None:
    text = f'{{"data":[{{"b64_json":"{PICTURE}"}},{{"b64_json":"{PICTURE}"}}]}}'
    skeleton = skeleton_of(text)
    found = reshape(len(skeleton), read_items(skeleton), Form.URL, [Stock(picture=0, link=OURS), Stock(picture=1)])
    assert (found.form, found.missed, bool(found.pieces)) == (Form.BOTH, True, True)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (BASE64, Form.B64_JSON),
        (LINK, Form.URL),
        ('{"data":[{"url":"u","b64_json":"x"}]}', Form.BOTH),
        ('{"data":[{"url":"u"},{"b64_json":"x"}]}', Form.BOTH),
        ('{"data":[]}', None),
        ('{"data":[{"url":null,"b64_json":""}]}', None),
    ],
)
def test_the_form_of_an_answer(text: str, form: Form | None) -> None:
    assert shaped(text, None)[1].form == form


def test_a_long_text_is_left_alone() -> None:
    text = f'{{"data":[{{"b64_json":"{PICTURE}"}}],"x":"{"y " * (MOST_SKELETON // 2)}"}}'
    assert shaped(text, Form.URL)[0] == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
EXTRA = st.dictionaries(
    st.text(max_size=8).filter(lambda key: key not in {"url", "b64_json", "data"}), JSON, max_size=3
)


@given(
    EXTRA,
    st.lists(st.tuples(EXTRA, EXTRA, st.sampled_from(["b64_json", "url", "both", "none"])), max_size=4),
    st.sampled_from(Form),
    st.sampled_from([(",", ":"), (", ", ": "), (" ,\n", " :\t")]),
    st.booleans(),
)
def test_whatever_stands_around_it_stays(
    around: dict[str, object],
    items: list[tuple[dict[str, object], dict[str, object], str]],
    wanted: Form,
    separators: tuple[str, str],
    is_ascii: bool,
) -> None:
    held = {"b64_json": {"b64_json": PICTURE}, "url": {"url": OURS + "/theirs"}, "none": {}}
    held["both"] = {**held["b64_json"], **held["url"]}
    data = [{**before, **held[kind], **after} for before, after, kind in items]
    text = json.dumps({**around, "data": data, "z": 1}, separators=separators, ensure_ascii=is_ascii)
    said, _ = shaped(text, wanted, Stock(picture=0, link=OURS))
    forms = {Form.URL: {"url": OURS}, Form.B64_JSON: {"b64_json": PICTURE}}
    forms[Form.BOTH] = {**forms[Form.URL], **forms[Form.B64_JSON]}
    expected = []
    for (before, after, kind), one in zip(items, data, strict=True):
        is_there = kind == "none" or (wanted is Form.B64_JSON and "b64_json" in one)
        expected.append(one if is_there else {**before, **after, **forms[wanted]})
    assert json.loads(said) == {**around, "data": expected, "z": 1}
