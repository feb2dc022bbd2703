"""A caller's trace goes on to every upstream that is asked, each attempt a span of its own."""

from pathlib import Path

import pytest

from tests.fakes.answers import image_answer
from tests.fakes.pair import running_pair
from tests.fakes.script import reply

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
OVERLOADED = reply(503, {"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}})


async def test_each_attempt_is_a_span_of_the_callers_trace(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        pair.a.play(OVERLOADED)
        pair.b.play(reply(200, image_answer()))
        answer = await pair.generate(traceparent=f"00-{TRACE}-{SPAN}-01", tracestate="vendor=secret")
        assert answer.status_code == 200
        seen = [upstream.requests[0].header("traceparent") or "" for upstream in (pair.a, pair.b)]
    parts = [header.split("-") for header in seen]
    assert [(part[0], part[1], part[3]) for part in parts] == [("00", TRACE, "01")] * 2
    assert len({parts[0][2], parts[1][2], SPAN}) == 3


@pytest.mark.parametrize("given", [None, "00-nonsense", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"])
async def test_without_a_trace_there_is_none(tmp_path: Path, given: str | None) -> None:
    async with running_pair(tmp_path) as pair:
        pair.a.play(reply(200, image_answer()))
        answer = await pair.generate(**({} if given is None else {"traceparent": given}))
        assert answer.status_code == 200
        assert pair.a.requests[0].header("traceparent") is None
