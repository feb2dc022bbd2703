import json
from typing import Any

from gateway.codecs.sandbox import Answer, Turn, text_response
from gateway.core.errand import Errand
from gateway.core.types import Facts, Surface
from gateway.sandbox import shelf
from gateway.sandbox.shelf import Shelf


def turn(number: int = 0, prompt: str = "a hat") -> Turn:
    facts = Facts(surface=Surface.RESPONSES, asked_model="m")
    return Turn(facts=facts, sent_model="m", prompt=prompt, token=f"{number:048x}", created=1)


def put(kept: Shelf, number: int = 0, prompt: str = "a hat") -> str:
    answer = text_response(turn(number, prompt))
    kept.put(answer, prompt)
    return f"resp_{number:048x}"


def told(answer: Answer) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(answer.body)
    return document


def test_a_response_is_remembered_until_it_is_deleted() -> None:
    kept = Shelf()
    name = put(kept)
    for errand in (Errand.RETRIEVE, Errand.CANCEL):
        assert kept.answer(errand, name, turn()).body == text_response(turn()).body
    assert told(kept.answer(Errand.INPUT_ITEMS, name, turn()))["data"][0]["content"][0]["text"] == "a hat"
    assert told(kept.answer(Errand.DELETE, name, turn())) == {"id": name, "object": "response", "deleted": True}
    for errand in (Errand.RETRIEVE, Errand.CANCEL, Errand.INPUT_ITEMS, Errand.DELETE):
        assert kept.answer(errand, name, turn()).status == 404


def test_the_oldest_are_forgotten_first() -> None:
    kept = Shelf()
    names = [put(kept, number) for number in range(shelf.MOST + 1)]
    assert kept.answer(Errand.RETRIEVE, names[0], turn()).status == 404
    assert kept.answer(Errand.RETRIEVE, names[1], turn()).status == 200


def test_it_remembers_no_more_than_fits() -> None:
    kept = Shelf()
    for number in range(5):
        kept.put(Answer(status=200, body=json.dumps({"id": str(number), "x": "x" * (9 << 20)}).encode()), "")
    found = [kept.answer(Errand.RETRIEVE, str(number), turn()).status for number in range(5)]
    assert found == [404, 404, 200, 200, 200]
    kept.put(Answer(status=200, body=json.dumps({"id": "9", "x": "x" * shelf.MOST_BYTES}).encode()), "")
    assert kept.answer(Errand.RETRIEVE, "9", turn()).status == 404


def test_tokens_are_counted_and_a_compaction_has_its_shape() -> None:
    kept = Shelf()
    assert told(kept.answer(Errand.INPUT_TOKENS, None, turn(prompt="12345678")))["input_tokens"] == 2
    document = told(kept.answer(Errand.COMPACT, None, turn()))
    assert (document["object"], document["output"][0]["type"]) == ("response.compaction", "compaction")
