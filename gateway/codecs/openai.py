"""The OpenAI API as an upstream: what goes on the wire for one attempt, and what its answers contain.

The caller's body travels as it came: only the model words are replaced, and only when they differ. An answer is read
for the few things the gateway acts on; everything else of it is nobody's business here.

Rules: total, never raises on an answer; the same arguments give the same value. An error is recognised in each shape
that this API's imitators use: the envelope, a bare string under ``error``, FastAPI's ``detail``, Azure's inner error.
It must never judge: whether an answer is a failure is ``core/failures.py``.
"""

import json
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from urllib.parse import quote

import orjson
from msgspec.structs import replace

from gateway.core.errand import Errand
from gateway.core.extract import placeholder
from gateway.core.seen import AnswerFacts, Observation, Reading
from gateway.core.splices import in_order
from gateway.core.stream_events import Event, EventKind, Heard, kind_of, sequence_of
from gateway.core.table import Channel
from gateway.core.types import BodyMap, ErrorBody, ImageFacts, JsonObject, JsonValue, Moderation, Splice, Surface, Wire
from gateway.ports import Job

_MOST_CATEGORIES = 32
_MOST_WORDS = 10_000  # characters of a message that are looked at
_MOST_USAGE = 16_384  # bytes of JSON; it goes on record as it came
_EMPTY_OBJECT_TAIL = 5  # after its opening brace the shortest object with a member has five more bytes: "":1}
_IMAGE_CALL = "image_generation_call"
_IMAGE_TOOL = "image_generation"
_BODILESS: Mapping[Errand, str] = MappingProxyType(
    {Errand.RETRIEVE: "GET", Errand.DELETE: "DELETE", Errand.INPUT_ITEMS: "GET"}
)
_BELOW: Mapping[Errand, str] = MappingProxyType({Errand.CANCEL: "/cancel", Errand.INPUT_ITEMS: "/input_items"})


class OpenAICodec:
    """Speaks to channels with ``api: openai``; also reads the sandbox, whose answers have the same shape."""

    def encode(self, job: Job, channel: Channel, sent_model: str, tool_sent_model: str | None) -> Wire:
        """Say what goes on the wire for one attempt; without a key there is no ``authorization`` at all."""
        errand, query = job.facts.errand, f"?{job.query}" if job.query and not job.facts.surface.is_images else ""
        own = {} if errand in _BODILESS else {"content-type": job.body_map.content_type}
        own |= {"accept": "application/json", "accept-encoding": "identity"}
        if channel.api_key is not None:
            own["authorization"] = f"Bearer {channel.api_key.reveal()}"
        forwarded = ((name, value) for name, value in job.forwarded if name not in own and name != "authorization")
        return Wire(
            method=_BODILESS.get(errand, "POST"),
            path=_path(job) + query,
            headers=(*own.items(), *forwarded),
            splices=() if job.subject is not None else _splices(job, sent_model, tool_sent_model),
        )

    def read(self, job: Job, seen: Observation) -> Reading:
        """Say what a whole answer contains; one that was no JSON object contains nothing."""
        answer = seen.answer
        if answer is None or answer.document is None:
            return Reading()
        if job.facts.surface.is_images:
            return _read_images(answer.document, answer)
        if job.facts.errand is Errand.CREATE:
            return _read_response(answer.document, answer)
        return _read_errand(job.facts.errand, answer.document)

    def read_event(self, job: Job, event: Event) -> Heard:
        """Say what one event of a streamed answer is, and what it contains."""
        surface = job.facts.surface
        kind = kind_of(surface, event)
        return Heard(kind=kind, sequence=sequence_of(event), reading=_read_event(kind, surface, event))


def _path(job: Job) -> str:
    facts = job.facts
    if job.subject is None:
        return f"/{facts.surface if facts.surface.is_images else facts.errand}"
    return f"/responses/{quote(job.subject, safe='')}{_BELOW.get(facts.errand, '')}"


def _splices(job: Job, sent_model: str, tool_sent_model: str | None) -> tuple[Splice, ...]:
    body, facts = job.body_map, job.facts
    splices: list[Splice] = []
    if body.model is None:
        splices.append(Splice(start=body.insert_at, end=body.insert_at, text=_inserted(body, sent_model)))
    elif facts.asked_model != sent_model:
        text = _quoted(sent_model) if body.boundary is None else sent_model.encode()
        splices.append(Splice(start=body.model[0], end=body.model[1], text=text))
    if tool_sent_model is not None and facts.tool is not None and facts.tool.asked_model != tool_sent_model:
        text = _quoted(tool_sent_model)
        splices.extend(Splice(start=start, end=end, text=text) for start, end in body.tool_models)
    return in_order(splices)


def _quoted(word: str) -> bytes:
    return json.dumps(word).encode()


def _inserted(body: BodyMap, model: str) -> bytes:
    if body.boundary is None:
        comma = b"" if body.length - body.insert_at < _EMPTY_OBJECT_TAIL else b","
        return b'"model":' + _quoted(model) + comma
    head = f'--{body.boundary}\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
    return f"{head}{model}\r\n".encode()


def _read_images(document: JsonObject, answer: AnswerFacts) -> Reading:
    payloads = _payloads(answer)
    pictures: list[ImageFacts] = []
    url_count = unreadable = 0
    for item in _objects(document.get("data")):
        url = _text(item.get("url")) or ""
        inline = _text(item.get("b64_json")) or (url if url.startswith("data:") else "")
        picture = payloads.get(inline.rpartition("base64,")[2])
        if picture is not None:
            pictures.append(picture)
        elif url and url != inline:
            url_count += 1
        elif inline:
            unreadable += 1
    usage = _usage(document.get("usage"))
    return Reading(
        # Only payloads that are no base64 at all: paid for, perhaps, and not this surface's shape.
        shaped=_is_list(document.get("data")) and (bool(pictures) or url_count > 0 or unreadable == 0),
        error=_error(document),
        pictures=tuple(pictures),
        url_count=url_count,
        usage=usage or None,
        output_tokens=_output_tokens(usage),
        served_model=_text(document.get("model")),
        size=_text(document.get("size")),
        quality=_text(document.get("quality")),
        output_format=_text(document.get("output_format")),
        image_tokens=_image_tokens(usage),
    )


def _read_response(document: JsonObject, answer: AnswerFacts) -> Reading:
    payloads = _payloads(answer)
    status = _text(document.get("status"))
    calls = [item for item in _objects(document.get("output")) if item.get("type") == _IMAGE_CALL]
    found = [payloads.get(_text(call.get("result")) or "") for call in calls]
    usage, tool_usage = _usage(document.get("usage")), _usage(document.get("tool_usage"))
    tokens = [_output_tokens(usage), _output_tokens(_object(tool_usage.get("image_gen")))]
    reported = [count for count in tokens if count is not None]
    made = next((call for call in calls if call.get("result")), {})
    tools = [tool for tool in _objects(document.get("tools")) if tool.get("type") == _IMAGE_TOOL]
    return Reading(
        shaped=document.get("object") == "response" and (_is_list(document.get("output")) or status == "failed"),
        error=_error(document),
        item_error=next((error for call in calls if (error := _error(call)) is not None), None),
        pictures=tuple(picture for picture in found if picture is not None),
        usage={**usage, **({"tool_usage": tool_usage} if tool_usage else {})} or None,
        output_tokens=sum(reported) if reported else None,
        served_model=_text(document.get("model")),
        response_id=_text(document.get("id")),
        response_status=status,
        ids=_ids(document, "output"),
        size=_text(made.get("size")),
        quality=_text(made.get("quality")),
        output_format=_text(made.get("output_format")),
        tool_model=next((_text(tool.get("model")) for tool in tools), None),
        image_tokens=_image_tokens(_object(tool_usage.get("image_gen"))),
    )


def _read_errand(errand: Errand, document: JsonObject) -> Reading:
    """Read what is said about a Response. One that failed when it was made is no failure of telling so."""
    kind = document.get("object")
    if errand is Errand.INPUT_TOKENS:
        shaped = isinstance(document.get("input_tokens"), int)
    elif errand is Errand.INPUT_ITEMS:
        shaped = _is_list(document.get("data"))
    elif errand is Errand.DELETE:
        shaped = document.get("deleted") is True
    else:
        shaped = kind == ("response.compaction" if errand is Errand.COMPACT else "response")
    usage = _usage(document.get("usage")) if errand is Errand.COMPACT else {}
    return Reading(
        shaped=shaped,
        error=None if shaped else _error(document),
        usage=usage or None,
        output_tokens=_output_tokens(usage),
        response_id=_text(document.get("id")),
        ids=_ids(document, "data" if errand is Errand.INPUT_ITEMS else "output") if shaped else (),
    )


def _ids(document: JsonObject, items: str) -> tuple[str, ...]:
    """Give the document's own id and those of its items."""
    found = (document, *_objects(document.get(items)))
    return tuple(name for one in found if (name := _text(one.get("id"))) is not None)


def _read_event(kind: EventKind, surface: Surface, event: Event) -> Reading | None:
    document = event.document or {}
    answer = AnswerFacts(bytes=0, document=document, pictures=event.pictures)
    response = _object(document.get("response"))
    if kind is EventKind.ERROR:
        flat = replace(_envelope(document), type=None)  # as the specification has it; ``type`` is the event's then
        return Reading(error=_error(document) or flat)
    if kind is EventKind.PICTURE:
        return _read_images({**document, "data": [document]}, answer)
    if kind is EventKind.ITEM:
        return _read_response({"output": [document.get("item")]}, answer)
    if kind in (EventKind.END, EventKind.FAILED) or (response and surface is Surface.RESPONSES):
        return _read_response(response, answer)
    return None


def _payloads(answer: AnswerFacts) -> Mapping[str, ImageFacts | None]:
    return {placeholder(index): picture for index, picture in enumerate(answer.pictures)}


def _error(document: JsonObject) -> ErrorBody | None:
    if "error" not in document and "detail" not in document:
        return None
    error, detail = document.get("error"), document.get("detail")
    if isinstance(error, dict) and error:
        return _envelope(error)
    if isinstance(error, str) and error:
        return ErrorBody(message=_message(error), type=_word(document.get("type")), code=_word(document.get("code")))
    if isinstance(detail, str) and detail:
        return ErrorBody(message=_message(detail))
    if isinstance(detail, dict):
        return _envelope(_object(detail.get("error")) or detail)
    faults = _objects(detail)
    return ErrorBody(message=_message(faults[0].get("msg")), param=_place(faults[0].get("loc"))) if faults else None


def _envelope(error: JsonObject) -> ErrorBody:
    inner = _object(error.get("innererror")) or _object(error.get("inner_error"))
    return ErrorBody(
        message=_message(error.get("message")),
        type=_word(error.get("type")),
        param=_word(error.get("param")),
        code=_word(error.get("code")) or _word(inner.get("code")),
        moderation=_moderation(error.get("moderation_details")),
    )


def _moderation(details: JsonValue) -> Moderation | None:
    if not isinstance(details, dict):
        return None
    found = details.get("categories")
    words = [_text(word) for word in found[:_MOST_CATEGORIES]] if isinstance(found, list) else []
    return Moderation(stage=_text(details.get("moderation_stage")), categories=tuple(word for word in words if word))


def _place(loc: JsonValue) -> str | None:
    """Give the parameter of a FastAPI fault: the last word of its ``loc``."""
    return _word(loc[-1]) if isinstance(loc, Sequence) and not isinstance(loc, str) and loc else None


def _word(value: JsonValue) -> str | None:
    """Give a code as text; imitators also send the status as a number."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1_000_000:
        return str(value)
    return _text(value)


def _text(value: JsonValue) -> str | None:
    return value if isinstance(value, str) and value else None


def _message(value: JsonValue) -> str:
    """Give what an upstream says, as far as it is looked at."""
    return (_text(value) or "")[:_MOST_WORDS]


def _usage(value: JsonValue) -> JsonObject:
    """Give what an answer says it used; what no record should hold is believed as little as what is none."""
    found = _object(value)
    try:
        return found if len(orjson.dumps(found)) <= _MOST_USAGE else {}
    except orjson.JSONEncodeError:  # numbers of more than 64 bits
        return {}


def _object(value: JsonValue) -> JsonObject:
    return value if isinstance(value, dict) else {}  # asked of each answer: not by abstract classes, which cost more


def _objects(value: JsonValue) -> Sequence[JsonObject]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else ()


def _is_list(value: JsonValue) -> bool:
    return isinstance(value, list)


def _image_tokens(usage: JsonObject) -> int | None:
    """Give the output tokens of the pictures: those told apart, else all."""
    count = _object(usage.get("output_tokens_details")).get("image_tokens")
    return count if isinstance(count, int) and not isinstance(count, bool) else _output_tokens(usage)


def _output_tokens(usage: JsonObject) -> int | None:
    """Give the output tokens as reported; some gateways keep the older name."""
    for name in ("output_tokens", "completion_tokens"):
        count = usage.get(name)
        if isinstance(count, int) and not isinstance(count, bool):
            return count
    return None
