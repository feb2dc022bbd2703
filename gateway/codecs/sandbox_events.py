"""The sandbox's answers as streams: a whole answer, and previews of its pictures, told as the API tells it in events.

Pure: an answer's document goes in, events come out, in the order of a real stream. A *step* is an event that a real
upstream would let one wait for. Must never say anything that the answer does not: the last event repeats it.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence

import orjson
import pybase64
from msgspec import Struct

from gateway.core.types import ErrorBody, JsonObject, JsonValue, Surface

_IMAGE_CALL = "image_generation_call"
_DELTA_WORDS = 8
_Told = tuple[str, dict[str, JsonValue]]


class Moment(Struct, frozen=True, kw_only=True):
    """One event as it stands on the wire. ``is_step``: it is worth waiting for; ``is_end``: it ends its stream."""

    data: bytes
    is_step: bool = False
    is_end: bool = False


def images(surface: Surface, document: JsonObject, previews: Sequence[Sequence[bytes]]) -> list[Moment]:
    """Tell the answer of an images surface; ``previews[i]`` are those of picture ``i``, the coarsest first."""
    kind = "image_edit" if surface is Surface.EDITS else "image_generation"
    words = ("size", "quality", "background", "output_format")
    shared: JsonObject = {"created_at": document.get("created"), **{name: document.get(name) for name in words}}
    pictures = _objects(document.get("data"))
    usage = _share(document.get("usage"), max(1, len(pictures)))
    moments: list[Moment] = []
    for place, picture in enumerate(pictures or ({"b64_json": ""},)):
        for index, preview in enumerate(previews[place] if place < len(previews) else ()):
            moments.append(_moment(f"{kind}.partial_image", {**_shown(preview, index, "b64_json"), **shared}))
        moments.append(_moment(f"{kind}.completed", {**picture, **shared, **({"usage": usage} if usage else {})}))
    return [*moments[:-1], Moment(data=moments[-1].data, is_step=True, is_end=True)]


def response(document: JsonObject, previews: Sequence[bytes]) -> list[Moment]:
    """Tell a whole Response: it begins, makes its items one by one, and ends."""
    told: list[_Told] = [*_opening(document)]
    for place, item in enumerate(_objects(document.get("output"))):
        told += _call(item, place, previews) if item.get("type") == _IMAGE_CALL else _message(item, place)
    told.append((f"response.{document.get('status')}", {"response": document}))
    moments = [_moment(kind, {**fields, "sequence_number": number}) for number, (kind, fields) in enumerate(told)]
    return [*moments[:-1], Moment(data=moments[-1].data, is_step=True, is_end=True)]


def refused_response(document: JsonObject, words: ErrorBody) -> list[Moment]:
    """Tell a Response that begins and then meets an error, as an account without credit does."""
    error: JsonObject = {"message": words.message, "type": words.type, "param": words.param, "code": words.code}
    told: list[_Told] = [*_opening(document), ("error", {"error": error})]
    return [_moment(kind, {**fields, "sequence_number": number}) for number, (kind, fields) in enumerate(told)]


def cut(moments: Iterable[Moment]) -> list[Moment]:
    """Leave out the end, as a connection that breaks does."""
    return [moment for moment in moments if not moment.is_end]


def _opening(document: JsonObject) -> Iterator[_Told]:
    begun = {**document, "status": "in_progress", "completed_at": None, "output": [], "usage": None}
    begun.pop("tool_usage", None)
    yield "response.created", {"response": begun}
    yield "response.in_progress", {"response": begun}


def _call(item: JsonObject, place: int, previews: Sequence[bytes]) -> Iterator[_Told]:
    at: dict[str, JsonValue] = {"item_id": item.get("id"), "output_index": place}
    begun = {"id": item.get("id"), "type": _IMAGE_CALL, "status": "in_progress", "result": None}
    shared = {name: item[name] for name in ("size", "quality", "background", "output_format") if name in item}
    yield "response.output_item.added", {"output_index": place, "item": begun}
    yield "response.image_generation_call.in_progress", at
    yield "response.image_generation_call.generating", at
    for index, preview in enumerate(previews):
        shown = _shown(preview, index, "partial_image_b64")
        yield "response.image_generation_call.partial_image", {**at, **shown, **shared}
    if item.get("status") == "completed":
        yield "response.image_generation_call.completed", at
    yield "response.output_item.done", {"output_index": place, "item": item}


def _message(item: JsonObject, place: int) -> Iterator[_Told]:
    at: dict[str, JsonValue] = {"item_id": item.get("id"), "output_index": place, "content_index": 0}
    part = _objects(item.get("content"))[0]
    text = str(part.get("text"))
    begun = {**item, "status": "in_progress", "content": []}
    yield "response.output_item.added", {"output_index": place, "item": begun}
    yield "response.content_part.added", {**at, "part": {**part, "text": ""}}
    for delta in _deltas(text):
        yield "response.output_text.delta", {**at, "delta": delta, "logprobs": []}
    yield "response.output_text.done", {**at, "text": text, "logprobs": []}
    yield "response.content_part.done", {**at, "part": part}
    yield "response.output_item.done", {"output_index": place, "item": item}


def _deltas(text: str) -> Iterator[str]:
    words = text.split(" ")
    for start in range(0, len(words), _DELTA_WORDS):
        yield (" " if start else "") + " ".join(words[start : start + _DELTA_WORDS])


def _shown(preview: bytes, index: int, key: str) -> dict[str, JsonValue]:
    return {key: pybase64.b64encode_as_string(preview), "partial_image_index": index}


def _share(usage: JsonValue, count: int) -> JsonObject | None:
    """Give the usage of one of ``count`` pictures: what was drawn is shared, what was read counts for each."""
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("output_tokens_details")
    given, drawn = usage.get("input_tokens"), usage.get("output_tokens")
    if not (isinstance(details, Mapping) and isinstance(given, int) and isinstance(drawn, int)):
        return None
    each = drawn // count
    return {
        **usage,
        "output_tokens": each,
        "output_tokens_details": {**details, "image_tokens": each},
        "total_tokens": given + each,
    }


def _moment(kind: str, fields: Mapping[str, JsonValue]) -> Moment:
    data = orjson.dumps({"type": kind, **fields})
    name = kind.encode()
    return Moment(
        data=b"event: " + name + b"\ndata: " + data + b"\n\n",
        is_step=kind.endswith((".partial_image", ".completed")),
    )


def _objects(value: JsonValue) -> Sequence[JsonObject]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return ()
    return [item for item in value if isinstance(item, Mapping)]
