"""What is asked and said about a Response that an upstream keeps."""

import pytest

from gateway.codecs.openai import OpenAICodec
from gateway.core.errand import Errand
from gateway.core.seen import AnswerFacts, Observation, Reading
from gateway.core.types import JsonObject, Phase, Surface
from tests.codecs.jobs import channel, job

CODEC = OpenAICodec()


@pytest.mark.parametrize(
    ("errand", "method", "path"),
    [
        (Errand.RETRIEVE, "GET", "/responses/resp_1?include%5B%5D=x"),
        (Errand.DELETE, "DELETE", "/responses/resp_1?include%5B%5D=x"),
        (Errand.CANCEL, "POST", "/responses/resp_1/cancel?include%5B%5D=x"),
        (Errand.INPUT_ITEMS, "GET", "/responses/resp_1/input_items?include%5B%5D=x"),
    ],
)
def test_the_wire_of_an_errand(errand: Errand, method: str, path: str) -> None:
    asked = job(
        b"{",
        surface=Surface.RESPONSES,
        asked=None,
        errand=errand,
        subject="resp_1",
        query="include%5B%5D=x",
        forwarded=(("openai-beta", "x"),),
    )
    wire = CODEC.encode(asked, channel(), "", None)
    assert (wire.method, wire.path, wire.splices) == (method, path, ())
    headers = dict(wire.headers)
    assert headers["authorization"] == "Bearer sk-test"
    assert headers["openai-beta"] == "x"
    assert ("content-type" in headers) == (method == "POST")


@pytest.mark.parametrize(
    ("errand", "path"), [(Errand.INPUT_TOKENS, "/responses/input_tokens"), (Errand.COMPACT, "/responses/compact")]
)
def test_the_wire_of_an_errand_with_a_body(errand: Errand, path: str) -> None:
    asked = job(b'{"model":"a"}', surface=Surface.RESPONSES, errand=errand)
    wire = CODEC.encode(asked, channel(), "b", None)
    assert (wire.method, wire.path) == ("POST", path)
    assert [splice.text for splice in wire.splices] == [b'"b"']


def test_an_id_cannot_leave_its_place_in_the_path() -> None:
    asked = job(b"{", surface=Surface.RESPONSES, asked=None, errand=Errand.RETRIEVE, subject="a/../../b?c#d")
    assert CODEC.encode(asked, channel(), "", None).path == "/responses/a%2F..%2F..%2Fb%3Fc%23d"


def read(errand: Errand, document: JsonObject | None, status: int = 200) -> Reading:
    asked = job(b'{"model":"a"}', surface=Surface.RESPONSES, errand=errand)
    answer = AnswerFacts(bytes=1, document=document)
    return CODEC.read(asked, Observation(phase=Phase.DONE, elapsed_s=1.0, status=status, answer=answer))


ITEMS: JsonObject = {"id": "ig_1", "type": "image_generation_call", "result": "x"}


@pytest.mark.parametrize("errand", [Errand.RETRIEVE, Errand.CANCEL])
def test_a_kept_response_brings_its_ids_and_nothing_to_pay(errand: Errand) -> None:
    document: JsonObject = {
        "id": "resp_1",
        "object": "response",
        "status": "failed",
        "error": {"code": "server_error", "message": "no"},
        "output": [ITEMS, {"type": "message"}, {"id": "msg_1"}],
        "usage": {"output_tokens": 9},
    }
    expected = Reading(shaped=True, response_id="resp_1", ids=("resp_1", "ig_1", "msg_1"))
    assert read(errand, document) == expected


def test_items_bring_their_ids() -> None:
    document: JsonObject = {"object": "list", "data": [{"id": "msg_1"}, {"id": 5}], "first_id": "msg_1"}
    assert read(Errand.INPUT_ITEMS, document) == Reading(shaped=True, ids=("msg_1",))


def test_a_compaction_is_paid_for_and_can_be_referred_to() -> None:
    document: JsonObject = {
        "id": "resp_2",
        "object": "response.compaction",
        "output": [{"id": "cmp_1", "type": "compaction", "encrypted_content": "x"}],
        "usage": {"input_tokens": 100, "output_tokens": 7},
    }
    found = read(Errand.COMPACT, document)
    assert found.shaped
    assert (found.ids, found.output_tokens, found.usage) == (("resp_2", "cmp_1"), 7, document["usage"])


def test_input_tokens_are_counted_and_not_paid() -> None:
    document: JsonObject = {"object": "response.input_tokens", "input_tokens": 11}
    assert read(Errand.INPUT_TOKENS, document) == Reading(shaped=True)


@pytest.mark.parametrize("errand", [errand for errand in Errand if errand is not Errand.CREATE])
def test_what_has_another_shape_is_no_answer(errand: Errand) -> None:
    error: JsonObject = {"error": {"message": "no such thing", "code": "not_found"}}
    found = read(errand, error, 404)
    assert not found.shaped
    assert found.error is not None
    assert found.error.code == "not_found"
    assert found.ids == ()
    assert read(errand, None) == Reading()
    assert not read(errand, {"object": "thing"}).shaped
