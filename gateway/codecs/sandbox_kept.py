"""What the sandbox says about Responses it has given, and about turns it is only asked to count or to shorten.

Pure: the same arguments give the same bytes; ids and the time are given in. The shapes are the OpenAI API's.
"""

import orjson

from gateway.codecs.sandbox import Answer, Turn, error, text_tokens
from gateway.core.types import ErrorBody, JsonObject


def missing(name: str) -> Answer:
    """Answer for an id that is not remembered."""
    text = f"Sandbox: Response with id '{name}' not found. It forgets its Responses when it is restarted."
    return error(404, ErrorBody(message=text, type="invalid_request_error"))


def whole(body: bytes) -> Answer:
    """Give a Response again, as it was."""
    return Answer(status=200, body=body)


def deleted(name: str) -> Answer:
    """Say that a Response is gone."""
    return _ok({"id": name, "object": "response", "deleted": True})


def items(name: str, prompt: str) -> Answer:
    """List what went into a Response: its words, as one message."""
    part: JsonObject = {"type": "input_text", "text": prompt}
    item: JsonObject = {
        "id": name.replace("resp_", "msg_in_", 1),
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [part],
    }
    return _ok({"object": "list", "data": [item], "first_id": item["id"], "last_id": item["id"], "has_more": False})


def input_tokens(turn: Turn) -> Answer:
    """Count the tokens of a turn, in the sandbox's way."""
    return _ok({"object": "response.input_tokens", "input_tokens": text_tokens(turn.prompt)})


def compaction(turn: Turn) -> Answer:
    """Give a compaction that nobody can read."""
    item: JsonObject = {"id": f"cmp_{turn.token}", "type": "compaction", "encrypted_content": f"sandbox {turn.token}"}
    text_in = text_tokens(turn.prompt)
    usage: JsonObject = {
        "input_tokens": text_in,
        "input_tokens_details": {"cached_tokens": 0},
        "output_tokens": 1,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": text_in + 1,
    }
    return _ok(
        {
            "id": f"resp_{turn.token}",
            "object": "response.compaction",
            "created_at": turn.created,
            "output": [item],
            "usage": usage,
        }
    )


def _ok(document: JsonObject) -> Answer:
    return Answer(status=200, body=orjson.dumps(document))
