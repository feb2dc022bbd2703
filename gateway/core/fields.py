"""Typed fields out of a request: a JSON object, or the texts of a multipart form, into the options of ``Facts``.

Decides what is a well-formed value of a field that the gateway acts on; which values a model accepts is its contract's
matter. Rules: ``null`` is absence; a boolean is no integer; the first thing wrong is the one reported, by the name of
its parameter and in the API's manner. Must never repeat the caller's input in a message, and never change a value.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import islice
from typing import assert_never

from msgspec.structs import replace

from gateway.core.types import Facts, JsonObject, JsonValue, Refusal

MAX_WORD = 64  # characters of an option; the longest the API knows has 11
MAX_MODEL = 200  # the name goes into a header of at most 256 bytes
MAX_PICTURES = 10
MAX_PARTIALS = 3
MAX_COMPRESSION = 100
NOT_BUILT = "This version of the gateway does not support it."

_INTEGERS = frozenset({"n", "output_compression", "partial_images", "frame_count", "frame_duration_ms"})
_RARE = frozenset(
    {
        *("output_compression", "moderation", "input_fidelity", "partial_images", "complexity", "frame_count"),
        *("frame_duration_ms", "svg", "response_format", "style"),
    }
)
_OPTIONS = _RARE | {"size", "quality", "background", "output_format"}
_KNOWN = _OPTIONS | {
    "model",
    "prompt",
    "n",
    "stream",
    "user",
    "safety_identifier",
    "images",
    "image",
    "image[]",
    "mask",
    "markup",
}
_MAX_UNKNOWN = 16
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,64}")
_FLAGS: Mapping[str, bool] = {"true": True, "false": False}
_INTEGER = re.compile(r"-?[0-9]{1,18}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def missing(param: str) -> Refusal:
    """Refuse a body that lacks a parameter."""
    return Refusal(
        status=400, code="missing_required_parameter", message=f"Missing required parameter: '{param}'.", param=param
    )


def wrong_type(param: str, expected: str, value: JsonValue) -> Refusal:
    """Refuse a value of another JSON type; ``expected`` has its article (``a string``)."""
    message = f"Invalid type for '{param}': expected {expected}, but got {_kind(value)} instead."
    return Refusal(status=400, code="invalid_type", message=message, param=param)


def bad_value(param: str, rule: str) -> Refusal:
    """Refuse a value of the right type; ``rule`` is a sentence that says what would do."""
    return Refusal(status=400, code="invalid_value", message=f"Invalid value for '{param}': {rule}", param=param)


def unsupported(param: str, reason: str = NOT_BUILT) -> Refusal:
    """Refuse what would have to be ignored; ``reason`` is a sentence."""
    message = f"Unsupported parameter: '{param}'. {reason}"
    return Refusal(status=400, code="unsupported_parameter", message=message, param=param)


def _kind(value: JsonValue) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a decimal"
        case str():
            return "a string"
        case Mapping():
            return "an object"
        case Sequence():
            return "an array"
        case _:
            assert_never(value)


class Fields:
    """Reads fields of one object; after the first refusal every read gives ``None`` or the default.

    ``prefix`` stands before each parameter's name in messages (``tools[0].``).
    """

    def __init__(self, values: JsonObject, *, prefix: str = "") -> None:
        self._values = values
        self._prefix = prefix
        self.refusal: Refusal | None = None

    def refuse(self, refusal: Refusal) -> None:
        """Keep the first refusal."""
        self.refusal = self.refusal or refusal

    def value(self, name: str) -> JsonValue:
        """Give a field as it stands; ``None`` when it is absent, null, or something was refused already."""
        return self._values.get(name) if self.refusal is None else None

    def text(self, name: str, *, longest: int | None = MAX_WORD) -> str | None:
        """Give a string of at most ``longest`` characters."""
        value = self._values.get(name)
        if value is None or self.refusal is not None:
            return None
        if not isinstance(value, str):
            self.refuse(wrong_type(self._prefix + name, "a string", value))
            return None
        if longest is not None and len(value) > longest:
            self.refuse(bad_value(self._prefix + name, f"must be at most {longest} characters."))
            return None
        return value

    def word(self, name: str) -> str | None:
        """Give a short string; anything else is nobody's business here, and counts as absent."""
        value = self.value(name)
        return value if isinstance(value, str) and len(value) <= MAX_WORD else None

    def whole(self, name: str) -> int | None:
        """Give an integer of at most nine digits; anything else counts as absent."""
        value = self.value(name)
        is_whole = isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**9
        return value if is_whole and isinstance(value, int) else None

    def has(self, names: Collection[str]) -> bool:
        """Whether any of these fields is there, be it null."""
        return not self._values.keys().isdisjoint(names)

    def unknown(self) -> tuple[str, ...]:
        """Give the names that no images request is known to have."""
        return unknown_names(self._values)

    def model(self) -> str | None:
        """Give the model's name: a short, printable text. Absent is allowed, empty is not."""
        value = self.text("model", longest=MAX_MODEL)
        if value is None:
            return None
        if not value.strip() or _CONTROL.search(value):
            self.refuse(bad_value(f"{self._prefix}model", "must be the name of a model."))
            return None
        return value

    def named(self, refusal: Refusal) -> Refusal:
        """Say on the refusal of a body which model it names, whatever else is wrong with it."""
        value = self._values.get("model")
        is_name = isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= MAX_MODEL
        named = value if isinstance(value, str) and is_name and not _CONTROL.search(value) else None
        return refusal if named is None else replace(refusal, asked_model=named)

    def integer(self, name: str, lowest: int, highest: int) -> int | None:
        """Give an integer within the bounds, both included."""
        value = self.value(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.refuse(wrong_type(self._prefix + name, "an integer", value))
            return None
        if not lowest <= value <= highest:
            self.refuse(bad_value(self._prefix + name, f"must be between {lowest} and {highest}."))
            return None
        return value

    def flag(self, name: str) -> bool:
        """Give a boolean; absent is false."""
        value = self.value(name)
        if value is None or isinstance(value, bool):
            return value is True
        self.refuse(wrong_type(self._prefix + name, "a boolean", value))
        return False

    def required_text(self, name: str) -> str:
        """Give a string that is there and not empty, of any length."""
        value = self.text(name, longest=None)
        if self.refusal is None and value is None:
            self.refuse(missing(self._prefix + name))
        elif value == "":
            self.refuse(bad_value(self._prefix + name, "must not be empty."))
        return value or ""

    def objects(self, name: str) -> tuple[JsonObject, ...]:
        """Give an array of objects; absent is empty."""
        value = self.value(name)
        if value is None:
            return ()
        if isinstance(value, str) or not isinstance(value, Sequence):
            self.refuse(wrong_type(self._prefix + name, "an array", value))
            return ()
        for index, item in enumerate(value):
            if not isinstance(item, Mapping):
                self.refuse(wrong_type(f"{self._prefix}{name}[{index}]", "an object", item))
                return ()
        return tuple(item for item in value if isinstance(item, Mapping))


def unknown_names(names: Iterable[str]) -> tuple[str, ...]:
    """Give those of a body's names that are no known parameter of an images request: 16 at most, plain ones only."""
    return tuple(islice((name for name in names if name not in _KNOWN and _PLAIN_NAME.fullmatch(name)), _MAX_UNKNOWN))


def typed(texts: Mapping[str, str]) -> JsonObject:
    """Give a form's texts the types that their fields have in JSON; a text that is none of them stays a string."""
    return {name: _typed(name, text) for name, text in texts.items()}


def _typed(name: str, text: str) -> JsonValue:
    if name in _INTEGERS and _INTEGER.fullmatch(text):
        return int(text)
    return _FLAGS.get(text, text) if name == "stream" else text


def with_options(facts: Facts, fields: Fields) -> Facts:
    """Give ``facts`` with the options of the picture, which stand in an images body and in an image tool alike."""
    facts = replace(
        facts,
        size=fields.text("size"),
        quality=fields.text("quality"),
        background=fields.text("background"),
        output_format=fields.text("output_format"),
    )
    if not fields.has(_RARE):
        return facts
    return replace(
        facts,
        output_compression=fields.integer("output_compression", 0, MAX_COMPRESSION),
        moderation=fields.text("moderation"),
        input_fidelity=fields.text("input_fidelity"),
        partial_images=fields.integer("partial_images", 0, MAX_PARTIALS),
        complexity=fields.word("complexity"),
        frame_count=fields.whole("frame_count"),
        frame_duration_ms=fields.whole("frame_duration_ms"),
        svg=fields.value("svg") is not None,
        response_format=fields.word("response_format"),
        style=fields.word("style"),
    )
