"""Canned bodies of real upstreams: pictures, Responses, and the error envelope of every code we know by name."""

import base64
import json
import random
import struct
import zlib
from dataclasses import dataclass

from gateway.core.types import JsonObject, JsonValue

USAGE: JsonObject = {
    "total_tokens": 1806,
    "input_tokens": 50,
    "output_tokens": 1756,
    "input_tokens_details": {"text_tokens": 10, "image_tokens": 40},
    "output_tokens_details": {"text_tokens": 0, "image_tokens": 1756},
}


def png(width: int = 64, height: int = 64, *, seed: int = 0, alpha: bool = False, noise: bool = False) -> bytes:
    """Draw a real PNG. ``noise`` makes it incompressible: about 3 (4) bytes a pixel."""
    dice = random.Random(seed)
    depth = 4 if alpha else 3
    colour = dice.randbytes(depth)
    rows = (b"\0" + (dice.randbytes(width * depth) if noise else colour * width) for _ in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 6 if alpha else 2, 0, 0, 0)
    pixels = zlib.compress(b"".join(rows), 1)
    chunks = _png_chunk(b"IHDR", header) + _png_chunk(b"IDAT", pixels) + _png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def image_answer(n: int = 1, width: int = 64, height: int = 64, noise: int = 0, alpha: int = 0) -> bytes:
    """Answer an images request with ``n`` different PNGs; ``noise=1`` makes them as large as pictures are.

    ``alpha=1``: with transparency.
    """
    pictures = [png(width, height, seed=i, noise=bool(noise), alpha=bool(alpha)) for i in range(n)]
    document: JsonObject = {
        "created": 1_762_000_000,
        "background": "opaque",
        "data": [{"b64_json": _b64(picture)} for picture in pictures],
        "output_format": "png",
        "quality": "medium",
        "size": f"{width}x{height}",
        "usage": USAGE,
    }
    return json.dumps(document).encode()


def image_answer_that_says(said: JsonObject, **shape: int) -> bytes:
    """Answer an images request with fields in place of those that would be true."""
    return json.dumps({**json.loads(image_answer(**shape)), **said}).encode()


def url_answer(*urls: str) -> bytes:
    """Answer an images request with links."""
    return json.dumps({"created": 1_762_000_000, "data": [{"url": url} for url in urls]}).encode()


def _response(status: str, output: JsonValue, error: JsonValue) -> JsonObject:
    return {
        "id": "resp_68f1c0ffee",
        "object": "response",
        "created_at": 1_762_000_000,
        "status": status,
        "error": error,
        "incomplete_details": None,
        "model": "gpt-5.5-2026-04-23",
        "output": output,
        "tools": [{"type": "image_generation", "model": "gpt-image-2"}],
    }


def _picture_item(width: int, height: int) -> JsonObject:
    return {
        "id": "ig_68f1",
        "type": "image_generation_call",
        "status": "completed",
        "background": "opaque",
        "output_format": "png",
        "quality": "medium",
        "revised_prompt": "A lighthouse, at night.",
        "size": f"{width}x{height}",
        "result": _b64(png(width, height)),
    }


def responses_answer(width: int = 64, height: int = 64, *, picture: bool = True) -> bytes:
    """Answer a Responses request: a picture drawn by the tool, a message, and both usages."""
    message: JsonObject = {
        "id": "msg_68f1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [{"type": "output_text", "text": "Here it is.", "annotations": []}],
    }
    output = [_picture_item(width, height), message] if picture else [message]
    document = {
        **_response("completed", output, None),
        "usage": {"input_tokens": 320, "output_tokens": 41, "total_tokens": 361},
        "tool_usage": {"image_gen": USAGE},
    }
    return json.dumps(document).encode()


def failed_response(code: str = "server_error", message: str = "The model failed.") -> bytes:
    """Answer 200 with a Response that failed."""
    return json.dumps({**_response("failed", [], {"code": code, "message": message}), "usage": None}).encode()


def failed_item(code: str = "moderation_blocked", message: str = "Your request was rejected.") -> bytes:
    """Answer 200 with a completed Response whose image item failed."""
    item = {"id": "ig_68f1", "type": "image_generation_call", "status": "failed", "result": None}
    output = [{**item, "error": {"code": code, "message": message}}]
    return json.dumps(_response("completed", output, None)).encode()


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedError:
    """An error answer as one upstream words it."""

    upstream: str
    status: int
    code: str | None
    kind: str | None  # the envelope's ``type``
    message: str
    param: str | None = None

    @property
    def body(self) -> JsonObject:
        """The envelope."""
        return {"error": {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}}


def _openai(
    status: int, code: str | None, message: str, kind: str = "invalid_request_error", param: str | None = None
) -> NamedError:
    return NamedError(upstream="openai", status=status, code=code, kind=kind, message=message, param=param)


def _azure(status: int, code: str, message: str) -> NamedError:
    return NamedError(upstream="azure", status=status, code=code, kind=None, message=message)


def _new_api(status: int, code: str, message: str) -> NamedError:
    text = f"{message} (request id: 20261120083000123456789abcdef)"
    return NamedError(upstream="new-api", status=status, code=code, kind="new_api_error", message=text, param="")


_IMAGES_PER_MINUTE = (
    "Rate limit reached for gpt-image-2 on input-images per min: Limit 5, Used 5, Requested 1. Please try again in 12s."
)
_NOT_VERIFIED = "Your organization must be verified to use the model `gpt-image-2`."

OPENAI_ERRORS: tuple[NamedError, ...] = (
    _openai(
        400, "moderation_blocked", "Your request was rejected by the safety system.", "image_generation_user_error"
    ),
    _openai(400, "content_policy_violation", "Your request was rejected as a result of our safety system."),
    _openai(400, "invalid_value", "Invalid size '100x100'.", param="size"),
    _openai(400, "unknown_parameter", "Unknown parameter: 'input_fidelity'.", param="input_fidelity"),
    _openai(400, "unsupported_parameter", "Transparent background is not supported.", param="background"),
    _openai(400, "decimal_below_min_value", "Invalid 'n': below minimum value.", param="n"),
    _openai(401, "invalid_api_key", "Incorrect API key provided."),
    _openai(403, None, _NOT_VERIFIED),
    _openai(404, "model_not_found", "The model `gpt-image-9` does not exist or you do not have access to it."),
    _openai(429, "rate_limit_exceeded", _IMAGES_PER_MINUTE, "input-images"),
    _openai(429, "rate_limit_exceeded", "Rate limit reached on requests per min.", "requests"),
    _openai(429, "insufficient_quota", "You exceeded your current quota.", "insufficient_quota"),
    _openai(400, "billing_hard_limit_reached", "Billing hard limit has been reached.", "billing_limit_user_error"),
    _openai(500, None, "The server had an error while processing your request.", "server_error"),
    _openai(500, None, "An error occurred while processing your request."),
    _openai(503, "server_error", "The engine is currently overloaded.", "server_error"),
)

AZURE_ERRORS: tuple[NamedError, ...] = (
    _azure(400, "content_filter", "The prompt triggered the content management policy."),
    _azure(400, "moderation_blocked", "Your request was rejected. safety_violations=[violence]."),
    _azure(404, "DeploymentNotFound", "The API deployment for this resource does not exist."),
    _azure(401, "401", "Access denied due to invalid subscription key or wrong API endpoint."),
    _azure(429, "429", "Requests have exceeded the call rate limit of your current tier."),
)

NEW_API_ERRORS: tuple[NamedError, ...] = (
    *(
        _new_api(400, code, "the request could not be handled")
        for code in ("invalid_request", "bad_request_body", "read_request_body_failed", "convert_request_failed")
    ),
    *(_new_api(500, code, "internal step failed") for code in ("json_marshal_failed", "count_token_failed")),
    _new_api(400, "sensitive_words_detected", "sensitive words detected"),
    _new_api(400, "prompt_blocked", "prompt blocked"),
    _new_api(403, "insufficient_user_quota", "user quota is not enough"),
    _new_api(403, "pre_consume_token_quota_failed", "token quota is not enough"),
    _new_api(403, "access_denied", "access denied"),
    _new_api(503, "model_not_found", "no available channel for model gpt-image-2 under group default"),
    _new_api(500, "model_price_error", "model price is not configured"),
    _new_api(500, "get_channel_failed", "no available channel"),
    *(
        _new_api(500, f"channel:{code}", "channel error")
        for code in (
            *("no_available_key", "invalid_key", "model_mapped_error", "param_override_invalid"),
            *("header_override_invalid", "aws_client_error", "response_time_exceeded"),
        )
    ),
    *(
        _new_api(500, code, "upstream failed")
        for code in ("do_request_failed", "read_response_body_failed", "bad_response", "bad_response_body")
    ),
    _new_api(500, "empty_response", "empty response"),
    _new_api(502, "bad_response_status_code", "bad response status code 502"),
    *(
        _new_api(500, code, "internal error")
        for code in (
            *("aws_invoke_error", "gen_relay_info_failed", "invalid_api_type"),
            *("query_data_error", "update_data_error"),
        )
    ),
)
