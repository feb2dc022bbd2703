import json
from itertools import combinations

import pytest

from gateway.core.edits import edits
from gateway.core.jsonbody import RequestJson, RequestScan
from gateway.core.jsontext import OPTIONS
from gateway.core.translation import Change
from gateway.core.types import BodyMap, FieldPlace, Splice


def apply(body: bytes, splices: tuple[Splice, ...]) -> bytes:
    out, at = b"", 0
    for splice in splices:
        assert splice.start >= at
        out += body[at : splice.start] + splice.text
        at = splice.end
    return out + body[at:]


def scanned(body: bytes) -> BodyMap:
    scan = RequestScan()
    scan.feed(body)
    found = scan.finish()
    assert isinstance(found, RequestJson)
    return BodyMap(
        content_type="application/json",
        length=len(body),
        model=found.model,
        insert_at=found.insert_at,
        tool_models=found.tool_models,
        fields=found.fields,
    )


def changed(body: bytes, *changes: Change, prefix: str = "") -> object:
    return json.loads(apply(body, edits(scanned(body), changes, prefix)))


def test_a_value_is_replaced_and_nothing_else() -> None:
    body = '{ "prompt" : "ü", "qu\\u0061lity":\t"hd" ,"n":1}'.encode()
    assert apply(body, edits(scanned(body), [Change(param="quality", text="high")])) == (
        '{ "prompt" : "ü", "qu\\u0061lity":\t"high" ,"n":1}'.encode()
    )


NAMES = ("size", "style", "quality", "response_format")


@pytest.mark.parametrize("gap", ["", " ", "\n  "])
@pytest.mark.parametrize("gone", [some for count in range(5) for some in combinations(NAMES, count)], ids=str)
@pytest.mark.parametrize("prompt_at", [0, 2, 4])
def test_any_fields_can_be_taken_out_together(gap: str, gone: tuple[str, ...], prompt_at: int) -> None:
    members = [(name, f"{name}-é") for name in NAMES]
    members.insert(prompt_at, ("prompt", "ü"))
    inner = f"{gap},{gap}".join(f'"{name}"{gap}:{gap}"{value}"' for name, value in members)
    body = f"{{{gap}{inner}{gap}}}".encode()
    left = {name: value for name, value in members if name not in gone}
    assert changed(body, *(Change(param=name) for name in gone)) == left


def test_a_body_of_nothing_else_is_left_empty() -> None:
    assert changed(b'{"style":"vivid","size":"1x1"}', Change(param="style"), Change(param="size")) == {}


def test_values_and_removals_go_together() -> None:
    body = b'{"style":"vivid","size":"512x512","prompt":"p","quality":"hd","response_format":"url"}'
    changes = [Change(param="style"), Change(param="size", text="1024x1024"), Change(param="quality", text="high")]
    assert changed(body, *changes, Change(param="response_format")) == {
        "size": "1024x1024",
        "prompt": "p",
        "quality": "high",
    }


def test_fields_of_a_tool_are_the_tools_own() -> None:
    body = (
        b'{"size":"top","tools":[{"type":"web_search"},{"type":"image_generation","model":"m","input_fidelity":"high"},'
        b'{"type":"image_generation","quality":"hd"}]}'
    )
    assert changed(body, Change(param="input_fidelity"), prefix="tools[1].") == {
        "size": "top",
        "tools": [
            {"type": "web_search"},
            {"type": "image_generation", "model": "m"},
            {"type": "image_generation", "quality": "hd"},
        ],
    }
    assert set(scanned(body).fields) == {
        *("size", "tools[1].input_fidelity", "tools[1].type", "tools[2].quality", "tools[2].type"),
    }


def test_places_behind_a_long_picture_are_those_of_the_body_as_it_came() -> None:
    picture = "data:image/png;base64," + "A" * 9_000
    body = json.dumps({"images": [{"image_url": picture}], "prompt": "p", "input_fidelity": "high"}).encode()
    assert changed(body, Change(param="input_fidelity")) == {"images": [{"image_url": picture}], "prompt": "p"}


def test_a_parameter_that_is_no_text_or_not_there_stays_as_it_is() -> None:
    body = b'{"prompt":"p","quality":3}'
    assert edits(scanned(body), [Change(param="quality"), Change(param="style", text="vivid")]) == ()


def test_a_null_is_absence_that_can_be_written_over() -> None:
    lower = Change(param="quality", text="low", is_downgrade=True)
    assert changed(b'{"quality" : null,"prompt":"p"}', lower) == {"quality": "low", "prompt": "p"}


def test_what_is_lowered_is_put_in_where_it_was_left_out() -> None:
    quality = Change(param="quality", text="low", is_downgrade=True)
    size = Change(param="size", text="1024x1024", is_downgrade=True)
    body = b'{ "prompt":"p"}'
    assert apply(body, edits(scanned(body), [quality, size])) == b'{"quality":"low","size":"1024x1024", "prompt":"p"}'
    tools = b'{"tools":[{"type":"web_search"},{"model":"m", "type":"image_generation"}]}'
    assert changed(tools, quality, size, prefix="tools[1].") == {
        "tools": [
            {"type": "web_search"},
            {"model": "m", "type": "image_generation", "quality": "low", "size": "1024x1024"},
        ]
    }
    assert edits(scanned(body), [quality, Change(param="quality")]) == ()  # this target does not take it at all


def test_what_is_lowered_is_a_part_of_a_form() -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n\r\np\r\n--b--\r\n'
    body = BodyMap(
        content_type="multipart/form-data; boundary=b", length=len(form), model=None, insert_at=0, boundary="b"
    )
    lowered = apply(form, edits(body, [Change(param="quality", text="low", is_downgrade=True)]))
    assert lowered == b'--b\r\nContent-Disposition: form-data; name="quality"\r\n\r\nlow\r\n' + form


def test_a_form_loses_a_part_or_has_another_text() -> None:
    form = b'--b\r\nname="style"\r\n\r\nvivid\r\n--b\r\nname="quality"\r\n\r\nhd\r\n--b--\r\n'
    style, quality, end = form.index(b"--b"), form.index(b'--b\r\nname="q'), form.index(b"--b--")
    body = BodyMap(
        content_type="multipart/form-data; boundary=b",
        length=len(form),
        model=None,
        insert_at=0,
        boundary="b",
        fields={
            "style": FieldPlace(
                value=(form.index(b"vivid"), form.index(b"vivid") + 5), whole=(style, quality), follow=quality
            ),
            "quality": FieldPlace(value=(form.index(b"hd"), form.index(b"hd") + 2), whole=(quality, end), follow=end),
        },
    )
    splices = edits(body, [Change(param="style"), Change(param="quality", text="high")])
    assert apply(form, splices) == b'--b\r\nname="quality"\r\n\r\nhigh\r\n--b--\r\n'
    assert apply(form, edits(body, [Change(param="style"), Change(param="quality")])) == b"--b--\r\n"


def test_every_option_that_may_be_changed_is_found() -> None:
    body = json.dumps(dict.fromkeys(sorted(OPTIONS), "x")).encode()
    assert set(scanned(body).fields) == OPTIONS
