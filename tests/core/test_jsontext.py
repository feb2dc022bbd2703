"""Strict JSON: what is refused, what a refusal says, and where the words stand that routing may replace."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.core.jsontext import MAX_DEPTH, MAX_DIGITS, MAX_TOOLS, MAX_VALUES, JsonFault, JsonText, locate, parse

NO_OBJECT = "It must be one JSON object and nothing else."
TWICE = "A key stands twice in one object."
DEEP = f"It must not nest deeper than {MAX_DEPTH} levels."
HALF = "Its texts must not hold half of a surrogate pair."

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
keys = st.sampled_from(["model", "tools", "type", "é", 'a"\\', ""]) | st.text(max_size=5)
values = st.recursive(
    scalars | st.just("image_generation"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=4),
    max_leaves=15,
)
tools = st.lists(
    st.fixed_dictionaries({"type": st.sampled_from(["image_generation", "function"])}, optional={"model": scalars})
    | values,
    max_size=4,
)
objects = st.fixed_dictionaries({}, optional={"model": st.text() | st.none(), "tools": tools, "z": values, "é": values})


def located(text: bytes) -> JsonText:
    found = locate(text)
    assert isinstance(found, JsonText)
    return found


@pytest.mark.parametrize(
    "text",
    [
        b"{}",
        b' \t\r\n{ "a" : [ 1 , -0.5e3 , true , null , "\\u00e9\\n\\ud83d\\ude00" ] } \n',
        '{"é":"\u2028😀"}'.encode(),
        b'{"a":{"b":1},"c":{"b":1},"b":""}',
        b'{"a":"\\\\ud800"}',
        b'{"a":' + b"[" * (MAX_DEPTH - 1) + b"]" * (MAX_DEPTH - 1) + b"}",
        b'{"a":[' + b"[],{}," * MAX_DEPTH + b"1]}",
        b'{"a":' + b"1" * MAX_DIGITS + b"}",
    ],
)
def test_an_object_is_read_as_any_parser_reads_it(text: bytes) -> None:
    assert parse(text) == json.loads(text)


@pytest.mark.parametrize(
    ("text", "reason", "param"),
    [
        *[
            (text, NO_OBJECT, None)
            for text in (
                *(b"", b" ", b"[]", b"1", b'"a"', b"null", b"{", b"}", b"{}x", b"{}{}", b"{,}", b'{"a"}', b'{"a":}'),
                *(b'{"a":1,}', b'{"a":[1,]}', b'{"a":01}', b'{"a":1.}', b'{"a":.5}', b'{"a":+1}', b'{"a":"\n"}'),
                *(b"{'a':1}", b"{a:1}", b'{"a":1/**/}', b'{"a":tru}', b'{"a":"\\x"}', b'{"a":"\\u12"}', b'{"a\n":1}'),
                *(b"\0", b'{"a":1}\0', b"{\xc2\xa0}", "{\u2003}".encode()),
            )
        ],
        (b'{"\xff":1}', "It must be UTF-8.", None),
        (b'{"\xed\xa0\x80":1}', "It must be UTF-8.", None),
        ('{"a":1}'.encode("utf-16"), "It must be UTF-8.", None),
        (b"\xef\xbb\xbf{}", "It must not begin with a byte order mark.", None),
        (b'{"a":1,"a":1}', TWICE, "a"),
        (b'{"a":1,"\\u0061":1}', TWICE, "a"),
        (b'{"x":[{"n":{"size":1,"b":2,"size":1}}]}', TWICE, "size"),
        (b'{"not plain":1,"not plain":1}', TWICE, None),
        (b'{"%s":1,"%s":1}' % (b"k" * 65, b"k" * 65), TWICE, None),
        (b'{"a":NaN}', "NaN and Infinity are no JSON.", None),
        (b'{"a":[-Infinity]}', "NaN and Infinity are no JSON.", None),
        (b'{"a":1e400}', "A number is too large.", None),
        (b'{"a":-1' + b"0" * MAX_DIGITS + b"}", f"An integer must have at most {MAX_DIGITS} digits.", None),
        (b'{"a":1' + b"0" * 9_999 + b"}", f"An integer must have at most {MAX_DIGITS} digits.", None),
        (b'{"a":"\\ud800"}', HALF, None),
        (b'{"a":["\\uDE00\\uD83D"]}', HALF, None),
        (b'{"\\ud83d":1}', HALF, None),
        (b'{"a":' + b"[" * MAX_DEPTH + b"]" * MAX_DEPTH + b"}", DEEP, None),
        (b'{"a":' * MAX_DEPTH + b"{}" + b"}" * MAX_DEPTH, DEEP, None),
        (b'{"a":' + b"[" * 200_000, DEEP, None),
        (b'{"a":[' + b"1," * MAX_VALUES + b"1]}", f"It must have at most {MAX_VALUES} values.", None),
        (b'{"tools":[' + b"{}," * MAX_TOOLS + b"{}]}", f"It must have at most {MAX_TOOLS} tools.", "tools"),
    ],
)
def test_whatever_could_be_read_in_two_ways_is_refused(text: bytes, reason: str, param: str | None) -> None:
    message = f"We could not parse the JSON body of your request. {reason}"
    assert parse(text) == locate(text) == JsonFault(message=message, param=param)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (b'{"model":"x"}', b'"x"'),
        (b' {\n "a":1, "model" :\t"x" , "b":2}', b'"x"'),
        (b'{"mod\\u0065l":"x"}', b'"x"'),
        (b'{"a":1,"model" : null }', b"null"),
        (b'{"model":"x\\"}{"}', b'"x\\"}{"'),
        (b'{"a":{"model":"y"},"b":["model",{"model":"z"}],"model":"x"}', b'"x"'),
        (b'{"a":"\\"model\\":\\"y\\"","model":"x"}', b'"x"'),
        (b'{"a\\"model":"y","n":-1.5e3 ,"t":true,"model":"x"}', b'"x"'),
        ('{"é":"ü😀","model":"ö"}'.encode(), '"ö"'.encode()),
    ],
)
def test_the_model_of_the_top_level_is_found(text: bytes, model: bytes) -> None:
    found = located(text)
    assert found.model is not None
    assert text[slice(*found.model)] == model
    assert text[found.insert_at - 1 : found.insert_at] == b"{"


@pytest.mark.parametrize("text", [b"{}", b'{"model":1}', b'{"model":{}}', b'{"a":{"model":"x"}}', '{"é":1}'.encode()])
def test_a_model_that_is_absent_or_neither_string_nor_null_has_no_place(text: bytes) -> None:
    assert located(text).model is None


def test_models_of_image_tools_are_found_and_no_others() -> None:
    text = (
        b'{"tools":[ 1 , [{"type":"image_generation","model":"a"}], {"type":"function","model":"b"} ,'
        b'{"model":"c","type":"image_generation"},{"type":"image_generation"},{"type":"image_generation","model":1},'
        b'{"type":"image_generation","x":{"model":"d"},"mod\\u0065l" : "e"}],"model":"f"}'
    )
    found = located(text)
    assert [text[slice(*place)] for place in found.tool_models] == [b'"c"', b'"e"']
    assert found.model is not None
    assert text[slice(*found.model)] == b'"f"'


@pytest.mark.parametrize("tools_text", [b"1", b"[]", b'"x"', b'{"type":"image_generation","model":"a"}'])
def test_tools_that_are_no_list_of_objects_have_no_places(tools_text: bytes) -> None:
    assert located(b'{"tools":' + tools_text + b"}").tool_models == ()


@settings(deadline=None)
@given(objects, st.booleans(), st.sampled_from([None, 1]), st.text(max_size=9))
def test_splicing_a_name_changes_the_model_and_nothing_else(
    document: dict[str, object], ascii_only: bool, indent: int | None, name: str
) -> None:
    text = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    found = located(text)
    assert found.document == document
    assert (found.model is None) == ("model" not in document)
    new = json.dumps(name).encode()
    places = sorted([*found.tool_models, found.model or (found.insert_at, found.insert_at)], reverse=True)
    for start, end in places:
        comma = b":1," if document else b":1"
        text = text[:start] + (new if start != end else new + comma) + text[end:]
    expected = json.loads(json.dumps(document))
    if "model" in document:
        expected["model"] = name
    for tool in expected.get("tools", []):
        if isinstance(tool, dict) and tool.get("type") == "image_generation" and isinstance(tool.get("model"), str):
            tool["model"] = name
    assert json.loads(text) == (expected if "model" in document else {name: 1} | expected)


@settings(deadline=None)
@given(st.binary(max_size=60) | st.text('{}[]",:\\u0d8model1e.-+ \n', max_size=60).map(str.encode))
def test_anything_may_come_and_is_an_object_or_a_fault(text: bytes) -> None:
    found = parse(text)
    if not isinstance(found, JsonFault):
        assert found == json.loads(text)
