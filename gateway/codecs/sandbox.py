"""What the sandbox answers: bodies in the OpenAI API's own shapes, good and bad.

Pure: the same arguments give the same bytes; ids, the time and the pictures are given in. There is no reading here,
because a sandbox answer has OpenAI's shape and the OpenAI codec reads it. Must never invent a price: ``usage`` counts
tokens in the way the API does, so that a client's arithmetic has something to work on.
"""

from collections.abc import Sequence

import orjson
import pybase64
from msgspec import Struct

from gateway.core.sandbox import Mishap, Shape
from gateway.core.tokens import formula
from gateway.core.types import ErrorBody, Facts, JsonObject, JsonValue

DEFAULT_TOOL_MODEL = "sandbox-image"

# Output tokens of a picture: the axis factor of gpt-image-2 by quality, whatever model was asked for.
_FACTORS = {"low": 16, "medium": 48, "high": 96, "xhigh": 96, "max": 96}


class Turn(Struct, frozen=True, kw_only=True):
    """One call as its answer needs it. ``token``: 48 random hex characters for the ids; ``created``: Unix seconds.

    ``prompt`` has no directives left; ``tool_model`` is the image tool's model as it was sent, absent when unnamed.
    """

    facts: Facts
    sent_model: str
    prompt: str
    token: str
    created: int
    tool_model: str | None = None


class Answer(Struct, frozen=True, kw_only=True):
    """A whole HTTP answer but for the headers that every answer of the sandbox carries."""

    status: int
    body: bytes
    content_type: str = "application/json"
    retry_after_s: int | None = None


def error(status: int, words: ErrorBody, retry_after_s: int | None = None) -> Answer:
    """Put an error into the API's envelope: all four keys, nulls kept."""
    return Answer(status=status, body=orjson.dumps({"error": _envelope(words)}), retry_after_s=retry_after_s)


def failure(fail: int | Mishap, turn: Turn) -> Answer:
    """Answer as an upstream that fails in this way. ``drop``, ``cut`` and ``hang`` have none: ValueError."""
    if isinstance(fail, int):
        return error(fail, _status_words(fail, turn.sent_model), retry_after_s=1 if fail == 429 else None)
    match fail:
        case Mishap.QUOTA:
            text = "Sandbox [fail quota]: you exceeded your current quota, please check your plan and billing details."
            return error(429, ErrorBody(message=text, type="insufficient_quota", code="insufficient_quota"))
        case Mishap.POLICY if turn.facts.tool is not None:
            item = _image_item(turn) | {"status": "failed", "error": _policy_error()}
            return _response([item], "I could not make this picture.", turn)
        case Mishap.POLICY:
            return Answer(status=400, body=orjson.dumps({"error": _policy_error()}))
        case Mishap.EMPTY if turn.facts.surface.is_images:
            return _ok({"created": turn.created, "data": []})
        case Mishap.EMPTY:
            return _response([], "No picture this time.", turn)
        case Mishap.HTML:
            page = b"<!doctype html><html><head><title>Sandbox</title></head><body>Sandbox [fail html]</body></html>\n"
            return Answer(status=200, body=page, content_type="text/html; charset=utf-8")
        case Mishap.DROP | Mishap.CUT | Mishap.HANG:
            raise ValueError(fail)


def _envelope(words: ErrorBody) -> dict[str, JsonValue]:
    return {"message": words.message, "type": words.type, "param": words.param, "code": words.code}


def _status_words(status: int, model: str) -> ErrorBody:
    kind, code = ("server_error", None) if status >= 500 else ("invalid_request_error", None)
    match status:
        case 400:
            text, code = "the request was not accepted.", "invalid_value"
        case 401:
            text, code = "incorrect API key provided.", "invalid_api_key"
        case 403:
            text = f"your organization must be verified to use the model `{model}`."
        case 404:
            text, code = f"the model `{model}` does not exist or you do not have access to it.", "model_not_found"
        case 429:
            text = f"rate limit reached for {model} on images per minute. Please try again in 1s."
            kind, code = "requests", "rate_limit_exceeded"
        case 503:
            text = "the engine is overloaded, try again later."
        case _ if status >= 500:
            text = "the server had an error while it processed the request."
        case _:
            text = "the request was not accepted."
    return ErrorBody(message=f"Sandbox [fail {status}]: {text}", type=kind, code=code)


def _policy_error() -> dict[str, JsonValue]:
    words = ErrorBody(
        message="Sandbox [fail policy]: the request was rejected by the safety system.",
        type="image_generation_user_error",
        code="moderation_blocked",
    )
    return _envelope(words) | {"moderation_details": {"moderation_stage": "input", "categories": ["sandbox"]}}


def images(pictures: Sequence[bytes], shape: Shape, turn: Turn) -> Answer:
    """Answer images/generations or images/edits with these pictures, in their order."""
    return _ok(
        {
            "created": turn.created,
            "background": shape.background,
            "data": [{"b64_json": pybase64.b64encode_as_string(picture)} for picture in pictures],
            "output_format": shape.format,
            "quality": shape.quality,
            "size": shape.size,
            "usage": _image_usage(shape, turn),
        }
    )


def picture_response(picture: bytes, shape: Shape, turn: Turn) -> Answer:
    """Answer a Responses turn that has the image tool: the image item, then a short message."""
    item = _image_item(turn) | {
        "background": shape.background,
        "output_format": shape.format,
        "quality": shape.quality,
        "result": pybase64.b64encode_as_string(picture),
        "revised_prompt": turn.prompt,
        "size": shape.size,
    }
    text = f"Here is your sandbox picture, {shape.size} as {shape.format}."
    return _response([item], text, turn, _image_usage(shape, turn))


def text_response(turn: Turn) -> Answer:
    """Answer a Responses turn without the image tool: a short message that says what was heard."""
    heard = turn.prompt if len(turn.prompt) <= 400 else turn.prompt[:399] + "…"
    return _response([], f"This is the sandbox. It heard: {heard}", turn)


def _image_item(turn: Turn) -> dict[str, JsonValue]:
    return {
        "id": f"ig_{turn.token}",
        "type": "image_generation_call",
        "status": "completed",
        "action": "edit" if turn.facts.inputs else "generate",
        "result": None,
    }


def _response(items: Sequence[JsonObject], text: str, turn: Turn, image_usage: JsonObject | None = None) -> Answer:
    content: JsonObject = {"type": "output_text", "annotations": [], "logprobs": [], "text": text}
    message: JsonObject = {
        "id": f"msg_{turn.token}",
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": [content],
    }
    head: JsonObject = {
        "id": f"resp_{turn.token}",
        "object": "response",
        "created_at": turn.created,
        "status": "completed",
        "completed_at": turn.created,
        "model": turn.sent_model,
        "output": [*items, message],
    }
    tool_usage: JsonObject = (
        {} if image_usage is None else {"tool_usage": {"image_gen": image_usage, "web_search": {"num_requests": 0}}}
    )
    return _ok({**head, **_unasked(), **_tool_echo(turn), **tool_usage, "usage": _text_usage(turn.prompt, text)})


def _unasked() -> JsonObject:
    """Give the fields of a Response that the sandbox does not act on, with the API's defaults."""
    return {
        "background": False,
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "reasoning": {"effort": None, "summary": None},
        "service_tier": "default",
        "store": True,
        "temperature": 1.0,
        "text": {"format": {"type": "text"}, "verbosity": "medium"},
        "top_p": 1.0,
        "truncation": "disabled",
        "user": None,
    }


def _tool_echo(turn: Turn) -> JsonObject:
    facts = turn.facts
    if facts.tool is None:
        return {"tool_choice": "auto", "tools": []}
    tool: JsonObject = {
        "type": "image_generation",
        "model": turn.tool_model or DEFAULT_TOOL_MODEL,
        "n": 1,
        "size": facts.size or "auto",
        "quality": facts.quality or "auto",
        "background": facts.background or "auto",
        "output_format": facts.output_format or "png",
    }
    return {"tool_choice": {"type": "image_generation"} if facts.tool.forced else "auto", "tools": [tool]}


def _text_usage(prompt: str, text: str) -> JsonObject:
    text_in, text_out = text_tokens(prompt), text_tokens(text)
    return {
        "input_tokens": text_in,
        "input_tokens_details": {"cache_write_tokens": 0, "cached_tokens": 0},
        "output_tokens": text_out,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": text_in + text_out,
    }


def _image_usage(shape: Shape, turn: Turn) -> JsonObject:
    facts = turn.facts
    given = [item.image for item in (*facts.inputs, facts.mask, facts.markup) if item is not None]
    text_in = text_tokens(turn.prompt)
    image_in = sum(_patches(image.width, image.height) for image in given if image is not None)
    out = shape.n * picture_tokens(shape.width, shape.height, shape.quality)
    return {
        "input_tokens": text_in + image_in,
        "input_tokens_details": {"image_tokens": image_in, "text_tokens": text_in},
        "output_tokens": out,
        "output_tokens_details": {"image_tokens": out, "text_tokens": 0},
        "total_tokens": text_in + image_in + out,
    }


def picture_tokens(width: int, height: int, quality: str) -> int:
    """Count the output tokens of one picture; ``quality`` is one of low, medium, high, xhigh, max."""
    return formula(_FACTORS[quality], (width, height))


def _patches(width: int | None, height: int | None) -> int:
    return min(1536, -(-(width or 512) // 32) * -(-(height or 512) // 32))


def text_tokens(text: str) -> int:
    """Count the tokens of a text: one for four characters."""
    return max(1, -(-len(text) // 4))


def _ok(document: JsonObject) -> Answer:
    return Answer(status=200, body=orjson.dumps(document))
