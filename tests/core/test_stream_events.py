"""What each event of a stream is, and what all of them together tell."""

import pytest

from gateway.core.seen import Reading
from gateway.core.stream_events import Event, EventKind, Heard, Tally, kind_of, sequence_of
from gateway.core.types import ErrorBody, ImageFacts, JsonObject, Surface

IMAGES, TURN = Surface.GENERATIONS, Surface.RESPONSES
PICTURE = ImageFacts(sha256="a", bytes=1, format="png")
OTHER = ImageFacts(sha256="b", bytes=2, format="png")


def event(document: JsonObject | None, name: str = "", data: bytes = b"{}") -> Event:
    return Event(name=name, data=data, document=document)


@pytest.mark.parametrize(
    ("surface", "word", "kind"),
    [
        (IMAGES, "image_generation.partial_image", EventKind.PARTIAL),
        (IMAGES, "image_edit.partial_image", EventKind.PARTIAL),
        (IMAGES, "image_generation.completed", EventKind.PICTURE),
        (IMAGES, "image_generation.started", EventKind.OPENING),
        (IMAGES, "", EventKind.OPENING),
        (IMAGES, "error", EventKind.ERROR),
        (TURN, "response.created", EventKind.OPENING),
        (TURN, "response.queued", EventKind.OPENING),
        (TURN, "response.in_progress", EventKind.OPENING),
        (TURN, "response.output_text.delta", EventKind.CONTENT),
        (TURN, "response.new_thing.completed", EventKind.CONTENT),
        (TURN, "response.image_generation_call.partial_image", EventKind.PARTIAL),
        (TURN, "response.output_item.done", EventKind.ITEM),
        (TURN, "response.completed", EventKind.END),
        (TURN, "response.incomplete", EventKind.END),
        (TURN, "response.cancelled", EventKind.END),
        (TURN, "response.failed", EventKind.FAILED),
        (TURN, "error", EventKind.ERROR),
    ],
)
def test_the_kind_of_an_event(surface: Surface, word: str, kind: EventKind) -> None:
    assert kind_of(surface, event({"type": word})) is kind
    assert kind_of(surface, event({}, name=word)) is kind


def test_the_type_in_the_data_goes_before_the_name() -> None:
    assert kind_of(IMAGES, event({"type": "x.completed"}, name="x.partial_image")) is EventKind.PICTURE
    assert kind_of(IMAGES, event({"type": 5}, name="x.partial_image")) is EventKind.PARTIAL


@pytest.mark.parametrize("error", [{"message": "no"}, "no"])
def test_an_error_is_one_wherever_it_stands(error: JsonObject | str) -> None:
    assert kind_of(TURN, event({"type": "response.output_text.delta", "error": error})) is EventKind.ERROR
    assert kind_of(TURN, event({"type": "response.output_text.delta", "error": None})) is EventKind.CONTENT
    assert kind_of(IMAGES, event({"message": "no"}, name="error")) is EventKind.ERROR


def test_data_that_is_no_object() -> None:
    assert kind_of(IMAGES, event(None, data=b" [DONE]\n")) is EventKind.DONE
    assert kind_of(IMAGES, event(None, data=b'"[DONE]"')) is EventKind.BROKEN
    assert sequence_of(event(None)) is None


@pytest.mark.parametrize(("number", "place"), [(7, 7), (0, 0), (True, None), ("7", None), (None, None)])
def test_the_place_of_an_event(number: int | str | None, place: int | None) -> None:
    assert sequence_of(event({"sequence_number": number})) == place


def tally(surface: Surface, *heard: Heard, expected: int = 1) -> Tally:
    counted = Tally(surface, expected)
    for one in heard:
        counted.add(one)
    return counted


def picture(facts: ImageFacts = PICTURE, tokens: int | None = None) -> Heard:
    usage: JsonObject | None = None if tokens is None else {"output_tokens": tokens, "details": {"image": tokens}}
    return Heard(
        kind=EventKind.PICTURE,
        reading=Reading(pictures=(facts,), usage=usage, output_tokens=tokens, image_tokens=tokens, served_model="m"),
    )


def test_previews_are_content_and_no_end() -> None:
    counted = tally(IMAGES, Heard(kind=EventKind.PARTIAL), Heard(kind=EventKind.PARTIAL))
    assert (counted.facts.has_content, counted.facts.is_ended, counted.facts.partial_images) == (True, False, 2)
    assert counted.reading() == Reading()


def test_the_last_picture_ends_an_images_stream() -> None:
    counted = tally(IMAGES, picture(tokens=5), expected=2)
    assert (counted.facts.has_content, counted.facts.is_ended) == (True, False)
    counted.add(picture(OTHER, tokens=7))
    assert counted.facts.is_ended
    told = counted.reading()
    assert told.pictures == (PICTURE, OTHER)
    assert told.usage == {"output_tokens": 12, "details": {"image": 12}}
    assert (told.output_tokens, told.image_tokens, told.served_model, told.shaped) == (12, 12, "m", True)


def test_usage_that_only_some_events_report() -> None:
    told = tally(IMAGES, picture(), picture(tokens=7), picture(), expected=3).reading()
    assert (told.usage, told.output_tokens) == ({"output_tokens": 7, "details": {"image": 7}}, 7)
    odd = Heard(kind=EventKind.PICTURE, reading=Reading(usage={"tier": "a"}))
    assert tally(IMAGES, odd, odd, expected=3).reading().usage == {"tier": "a"}


def test_a_last_event_without_a_picture_is_no_content() -> None:
    counted = tally(IMAGES, Heard(kind=EventKind.PICTURE, reading=Reading()))
    assert (counted.facts.has_content, counted.facts.is_ended) == (False, True)
    url = tally(IMAGES, Heard(kind=EventKind.PICTURE, reading=Reading(url_count=1)))
    assert (url.facts.has_content, url.reading().url_count) == (True, 1)


def test_a_turn_that_draws_counts_its_picture_once() -> None:
    begun = Heard(kind=EventKind.OPENING, reading=Reading(response_id="resp_1", response_status="in_progress"))
    item = Heard(kind=EventKind.ITEM, reading=Reading(pictures=(PICTURE,)))
    counted = tally(TURN, begun)
    assert not counted.facts.has_content
    counted.add(item)
    assert (counted.reading().pictures, counted.reading().response_id) == ((PICTURE,), "resp_1")
    end = Reading(pictures=(PICTURE,), response_id="resp_1", response_status="completed", usage={"output_tokens": 1})
    counted.add(Heard(kind=EventKind.END, reading=end))
    assert counted.facts.is_ended
    assert (counted.reading().pictures, counted.reading().usage) == ((PICTURE,), {"output_tokens": 1})


def test_an_end_that_does_not_repeat_its_pictures_keeps_those_of_its_items() -> None:
    item = Heard(kind=EventKind.ITEM, reading=Reading(pictures=(PICTURE,)))
    counted = tally(TURN, item, Heard(kind=EventKind.END, reading=Reading(response_status="completed")))
    assert counted.reading().pictures == (PICTURE,)


def test_a_failed_turn_is_an_end_without_content() -> None:
    failed = Reading(response_status="failed", error=ErrorBody(message="no"))
    counted = tally(TURN, Heard(kind=EventKind.FAILED, reading=failed))
    assert (counted.facts.has_content, counted.facts.is_ended, counted.is_over) == (False, True, False)
    assert counted.reading().error == ErrorBody(message="no")


def test_an_error_ends_the_reading() -> None:
    counted = tally(TURN, Heard(kind=EventKind.ERROR, reading=Reading(error=ErrorBody(message="no", code="c"))))
    assert counted.is_over
    assert counted.reading().error == ErrorBody(message="no", code="c")
    assert tally(TURN, Heard(kind=EventKind.ERROR)).reading().error == ErrorBody(message="")
