"""Streams of real upstreams, event by event, and the words by which a transcript names them."""

import base64
import json
import re
from collections.abc import Iterator, Sequence

from gateway.core.types import JsonObject, JsonValue
from tests.fakes import answers
from tests.fakes.script import Ending, Script, stream

EOLS = {"lf": ["\n"], "crlf": ["\r\n"], "cr": ["\r"], "mixed": ["\n", "\r\n", "\r", "\r\n", "\n"]}
RESPONSE_ID = "resp_68f1c0ffee"
COMMENT = b": OPENROUTER PROCESSING\n\n"
BOM = b"\xef\xbb\xbf"
DONE = b"data: [DONE]\n\n"
JUNK = b'event: x\ndata: {"type": "x", "open": \n\n'


def event(data: JsonObject, *, named: bool = True) -> bytes:
    """Write one event; its name is its type."""
    name = f"event: {data['type']}\n" if named else ""
    return f"{name}data: {json.dumps(data)}\n\n".encode()


def picture_event(
    kind: str, index: int | None = None, *, surface: str = "image_generation", data: bytes | None = None
) -> JsonObject:
    """One event of an images stream: ``kind`` is partial_image or completed."""
    picture = answers.png(64, 48, seed=9 if index is None else index) if data is None else data
    fields: dict[str, JsonValue] = {
        "type": f"{surface}.{kind}",
        "b64_json": base64.b64encode(picture).decode(),
        "created_at": 1_762_000_000,
        "size": "64x48",
        "quality": "medium",
        "background": "opaque",
        "output_format": "png",
    }
    return {**fields, "usage": answers.USAGE} if index is None else {**fields, "partial_image_index": index}


def response_events(partials: int = 1, *, draws: bool = True) -> list[JsonObject]:
    """A turn that draws, then speaks, or only speaks: the order of a real stream, numbered from 0."""
    whole = json.loads(answers.responses_answer(picture=draws))
    opening = {**whole, "status": "in_progress", "output": [], "usage": None, "tool_usage": None}
    kinds: list[tuple[str, JsonObject]] = [("created", {"response": opening}), ("in_progress", {"response": opening})]
    for place, item in enumerate(whole["output"]):
        kinds += _drawing(item, place, partials) if "result" in item else _speaking(item, place)
    kinds.append(("completed", {"response": whole}))
    return [
        {"type": f"response.{kind}", "sequence_number": number, **fields} for number, (kind, fields) in enumerate(kinds)
    ]


def _drawing(call: JsonObject, place: int, partials: int) -> list[tuple[str, JsonObject]]:
    at: JsonObject = {"item_id": call["id"], "output_index": place}
    return [
        ("output_item.added", {"output_index": place, "item": {**call, "status": "in_progress", "result": None}}),
        ("image_generation_call.in_progress", at),
        ("image_generation_call.generating", at),
        *(
            ("image_generation_call.partial_image", {**at, **_partial(index), "partial_image_index": index})
            for index in range(partials)
        ),
        ("image_generation_call.completed", at),
        ("output_item.done", {"output_index": place, "item": call}),
    ]


def _speaking(message: JsonObject, place: int) -> list[tuple[str, JsonObject]]:
    at: JsonObject = {"item_id": message["id"], "output_index": place, "content_index": 0}
    part: JsonObject = {"type": "output_text", "text": "Here it is.", "annotations": []}
    return [
        ("output_item.added", {"output_index": place, "item": {**message, "status": "in_progress", "content": []}}),
        ("content_part.added", {**at, "part": {**part, "text": ""}}),
        *(("output_text.delta", {**at, "delta": word, "logprobs": []}) for word in ("Here ", "it ", "is.")),
        ("output_text.done", {**at, "text": part["text"], "logprobs": []}),
        ("content_part.done", {**at, "part": part}),
        ("output_item.done", {"output_index": place, "item": message}),
    ]


def _partial(index: int) -> JsonObject:
    picture = base64.b64encode(answers.png(64, 64, seed=index)).decode()
    return {"partial_image_b64": picture, "size": "64x64", "quality": "medium", "output_format": "png"}


def _error_words(code: str) -> JsonObject:
    known = next((error for error in answers.OPENAI_ERRORS if error.code == code), None)
    return {
        "type": known.kind if known else "server_error",
        "code": code,
        "message": known.message if known else "It did not work.",
        "param": None,
    }


class Speaker:
    """Turns the words of a transcript into the bytes of a stream; numbers what has to be numbered."""

    def __init__(self) -> None:
        self._partials = 0
        self._number = 0
        self._turn = {str(one["type"]).removeprefix("response."): one for one in response_events()}

    def say(self, word: str) -> list[bytes | float]:
        """Give what one word says."""
        name, _, rest = word.partition(" ")
        simple = {"comment": COMMENT, "bom": BOM, "done": DONE, "junk": JUNK, "retry": b"retry: 3000\n\n"}
        if name in simple:
            return [simple[name]]
        if name == "pause":
            return [float(rest)]
        if name in ("turn", "text"):
            return [event(one) for one in response_events(int(rest or 1), draws=name == "turn")]
        if name in ("error", "flat", "failed"):
            return [event(self._error(name, rest))]
        said = event(self._picture(name, rest) or self._of_turn(name), named=not rest.startswith("unnamed"))
        return [said[: len(said) // 2]] if rest == "half" else [said]

    def _picture(self, name: str, rest: str) -> JsonObject | None:
        surface = "image_edit" if name.startswith("edit_") else "image_generation"
        name = name.removeprefix("edit_")
        if name == "partial":
            self._partials += 1
            return picture_event("partial_image", self._partials - 1, surface=surface)
        if name != "completed":
            return None
        if rest == "blank":
            return picture_event("completed", surface=surface, data=b"")
        size = re.fullmatch(r"([0-9]+)MB", rest)
        big = answers.png(64, 48) + bytes(int(size[1]) * 1_000_000 * 3 // 4) if size else None
        return picture_event("completed", surface=surface, data=big)

    def _of_turn(self, name: str) -> JsonObject:
        number, self._number = self._number, self._number + 1
        kind = "completed" if name == "finished" else name
        ended = {**self._turn["completed"], "type": f"response.{kind}"}  # incomplete, cancelled: all but the status
        return {**self._turn.get(kind, ended), "sequence_number": number}

    def _error(self, form: str, code: str) -> JsonObject:
        words = _error_words(code)
        number, self._number = self._number, self._number + 1
        if form == "flat":
            return {**words, "type": "error", "sequence_number": number}
        if form == "error":
            return {"type": "error", "sequence_number": number, "error": words}
        response = json.loads(answers.failed_response(code))
        return {"type": "response.failed", "sequence_number": number, "response": response}


def said(words: str) -> Iterator[bytes | float]:
    """Give the pieces of a stream: ``words`` are separated by commas."""
    speaker = Speaker()
    for word in words.split(","):
        yield from speaker.say(word.strip())


def with_line_ends(piece: bytes, ends: Sequence[str], at: int) -> bytes:
    """Give an event with other line ends, taken in turn."""
    lines = piece.decode().split("\n")
    return "".join(line + ends[(at + n) % len(ends)] for n, line in enumerate(lines[:-1])).encode() + lines[-1].encode()


def told(text: str) -> Script:
    """Give the script of ``WORD, WORD ... [; OPTION, OPTION ...]``.

    Words: partial, completed, edit_partial, edit_completed (also ``half``, ``blank``, ``unnamed``, ``64MB``); turn,
    text; any event of a turn by its name after ``response.`` (finished for completed); error, flat or failed with a
    code; comment, bom, done, junk, retry; pause S. Options: slice N; crlf, cr, mixed; cut, reset, stall, open.
    """
    words, _, rest = text.partition(";")
    options = [option.strip().split(" ") for option in rest.split(",") if option.strip()]
    names = {name for name, *_ in options}
    ends = next((EOLS[name] for name in names if name in EOLS), EOLS["lf"])
    pieces = [
        piece if isinstance(piece, float) else with_line_ends(piece, ends, at) for at, piece in enumerate(said(words))
    ]
    return stream(
        *pieces,
        slice=next((int(more[0]) for name, *more in options if name == "slice"), 0),
        finished=names.isdisjoint({"cut", "reset", "stall", "open"}),
        stalls=not names.isdisjoint({"stall", "open"}),
        ending=Ending.RESET if "reset" in names else Ending.CLOSE if "cut" in names else Ending.KEEP,
    )
