"""Requests as bytes, and answers read: whatever comes, in whatever pieces."""

import json
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.cli.client import Answer
from gateway.cli.commission import Commission, Given, more_fields
from gateway.cli.delivery import Delivery, Ear, deliver
from gateway.core.types import Surface
from tests.fakes import answers, events

PICTURE = Given(name='a"b\r\n.png', data=answers.png(8, 8))


def heard(*pieces: bytes, status: int = 200) -> Delivery:
    ear = Ear(on_preview=lambda _number, _data: None)
    for piece in pieces:
        ear.listen(piece)
    return deliver(Answer(status=status, headers={"content-type": "text/event-stream"}, body=b"", took_s=1.0), ear)


def read(body: bytes, status: int = 200) -> Delivery:
    answer = Answer(status=status, headers={"content-type": "application/json"}, body=body, took_s=1.0)
    return deliver(answer, Ear(on_preview=lambda _number, _data: None))


def test_what_was_not_asked_is_not_sent() -> None:
    letter = Commission(surface=Surface.GENERATIONS, prompt="a fox").letter("http://g", {"x-route-pin": "a"})
    assert (letter.url, json.loads(letter.body)) == ("http://g/v1/images/generations", {"prompt": "a fox"})
    assert letter.headers["x-route-pin"] == "a"


def test_the_same_request_is_the_same_bytes() -> None:
    asked = Commission(surface=Surface.EDITS, prompt="a fox", images=(PICTURE,), mask=PICTURE, n=2)
    first, second = asked.letter("http://g", {}), asked.letter("http://g", {})
    assert first == second
    assert b'name="image"; filename="a_b__.png"\r\ncontent-type: image/png' in first.body
    assert b'name="n"\r\n\r\n2' in first.body


def test_a_turn_carries_its_pictures() -> None:
    asked = Commission(
        surface=Surface.RESPONSES, prompt="a fox", model="chat", images=(PICTURE,), mask=PICTURE, size="auto"
    )
    turn = json.loads(asked.letter("http://g", {}).body)
    [tool] = turn["tools"]
    assert (tool["size"], tool["input_image_mask"]["image_url"][:22]) == ("auto", "data:image/png;base64,")
    assert [part["type"] for part in turn["input"][0]["content"]] == ["input_text", "input_image"]


def test_other_fields() -> None:
    assert more_fields(["seed=7", "style=vivid", "svg={}", "x=a=b"]) == {
        "seed": 7,
        "style": "vivid",
        "svg": {},
        "x": "a=b",
    }
    for wrong in ("seed", "=7", "a b=1"):
        with pytest.raises(ValueError, match="takes NAME=VALUE"):
            more_fields([wrong])


@settings(max_examples=100, deadline=None)
@given(cuts=st.lists(st.integers(0, 4000), max_size=8))
def test_a_stream_in_any_pieces(cuts: list[int]) -> None:
    whole = b"".join(events.event(one) for one in events.response_events(2))
    places = sorted({0, len(whole), *(cut % len(whole) for cut in cuts)})
    delivery = heard(*(whole[start:end] for start, end in pairwise(places)))
    assert (len(delivery.pictures), delivery.previews, delivery.complaint) == (1, 2, None)
    assert delivery.usage is not None
    assert "tool_usage" in delivery.usage


def test_several_pictures_of_a_stream_add_up() -> None:
    last = events.event(events.picture_event("completed"))
    delivery = heard(last, last)
    assert len(delivery.pictures) == 2
    assert delivery.usage is not None
    assert delivery.usage["output_tokens"] == 2 * 1756


def test_a_failed_turn_is_a_complaint() -> None:
    failed = json.loads(answers.failed_response("rate_limit_exceeded", "slow down"))
    delivery = heard(events.event({"type": "response.failed", "response": failed}))
    assert delivery.complaint is not None
    assert (delivery.complaint.code, delivery.complaint.message) == ("rate_limit_exceeded", "slow down")


@settings(max_examples=200, deadline=None)
@given(
    body=st.recursive(
        st.one_of(st.none(), st.booleans(), st.integers(-9, 9), st.text(max_size=5)),
        lambda below: st.one_of(
            st.lists(below, max_size=3),
            st.dictionaries(
                st.sampled_from(["data", "b64_json", "url", "error", "usage", "output", "result", "type", "attempts"]),
                below,
                max_size=4,
            ),
        ),
    ),
    status=st.sampled_from([200, 400, 503]),
)
def test_whatever_an_answer_holds_is_read(body: object, status: int) -> None:
    data = json.dumps(body).encode()
    assert (read(data, status).complaint is not None) is (status >= 400)
    assert isinstance(heard(b"data: " + data + b"\n\n").events, tuple)
    read(data[:-1], status)
