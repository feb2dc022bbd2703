"""A request's JSON, read strictly, and where in its text the words stand that routing may replace.

Rules: whatever two parsers might read in two ways is refused: a key that stands twice in one object, numbers that JSON
has not, half of a surrogate pair, a byte order mark, more depth, digits or values than any request needs. The text is
walked for its places only once it is known to be sound, and only as far as they are. Must never repeat the caller's
input in a message; a key is named only when it is short and plain.
"""

import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.core.types import FieldPlace, JsonObject, JsonValue

MAX_DEPTH = 64  # objects and arrays within each other, the outermost included
MAX_DIGITS = 1_000  # of an integer
MAX_VALUES = 400_000  # bounds the values by the number of commas and colons, those of texts too
MAX_TOOLS = 1_000  # each is walked on its own
# Texts that may be said in other words, or be left out, for a target whose contract says so.
OPTIONS = frozenset(
    {
        *("size", "quality", "background", "moderation", "input_fidelity", "complexity", "response_format", "style"),
        "output_format",
    }
)

_IMAGE_TOOL = "image_generation"
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_SPACE = r"[ \t\n\r]*+"
_STRING = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
# These walk text that is known to be JSON, so they need not tell what is not.
_KEY = re.compile(rf"[{{, \t\n\r]*+({_STRING}){_SPACE}:{_SPACE}")
_GAP = re.compile(r"[, \t\n\r]*+")
_SCALAR = re.compile(rf'{_STRING}|[^"\[{{}}\], \t\n\r]++')


class JsonFault(Struct, frozen=True, kw_only=True):
    """Why a body is not taken: a sentence for the caller, and the key at fault when it can be named."""

    message: str
    param: str | None = None


class JsonText(Struct, frozen=True, kw_only=True):
    """A strict JSON object and its places, as byte ranges of its text.

    ``model`` is the value of that key at the top level, a string with its quotes or null; ``None`` when it is absent or
    anything else. ``tool_models`` are the strings of ``tools[i].model`` of image tools, in order. ``insert_at`` is
    after the first brace. ``fields`` are the ``OPTIONS`` that are strings or null, of the body and of its image tools,
    by path; of an image tool also its ``type``, before which another option can be put.
    """

    document: JsonObject
    insert_at: int
    model: tuple[int, int] | None = None
    tool_models: tuple[tuple[int, int], ...] = ()
    fields: Mapping[str, FieldPlace] = field(default_factory=dict)


class _Refused(Exception):
    """Carries a fault out of the library's parser."""

    def __init__(self, fault: JsonFault) -> None:
        super().__init__(fault.message)
        self.fault = fault


def refused(reason: str, param: str | None = None) -> JsonFault:
    """Say that a body is not taken; ``reason`` is a sentence."""
    return JsonFault(message=f"We could not parse the JSON body of your request. {reason}", param=param)


def parse(text: bytes) -> JsonObject | JsonFault:
    """Read one strict JSON object."""
    found = locate(text)
    return found if isinstance(found, JsonFault) else found.document


def locate(text: bytes) -> JsonText | JsonFault:
    """Read one strict JSON object and find its places."""
    if text.count(b",") + text.count(b":") > MAX_VALUES:
        return refused(f"It must have at most {MAX_VALUES} values.")
    try:
        return _located(text.decode("utf-8"))
    except _Refused as stopped:
        return stopped.fault
    except UnicodeDecodeError:
        return refused("It must be UTF-8.")
    except UnicodeEncodeError:
        return refused("Its texts must not hold half of a surrogate pair.")
    except RecursionError:
        return _too_deep()
    except ValueError:
        return _no_object()


def _no_object() -> JsonFault:
    return refused("It must be one JSON object and nothing else.")


def _located(text: str) -> JsonText:
    if text.startswith("\ufeff"):
        raise _Refused(refused("It must not begin with a byte order mark."))
    document: JsonValue = _STRICT.decode(text)
    if not isinstance(document, dict):
        raise _Refused(_no_object())
    if text.count("{") + text.count("[") > MAX_DEPTH and _is_deep(document):
        raise _Refused(_too_deep())
    if "\\ud" in text or "\\uD" in text:
        json.dumps(document, ensure_ascii=False).encode("utf-8")
    return _placed(text, document)


def _placed(text: str, document: JsonObject) -> JsonText:
    wanted = _options(document)
    if isinstance(document.get("model", 0), str | None):
        wanted.add("model")
    tools = document.get("tools")
    in_tools = [_named_in_tool(tool) for tool in tools] if isinstance(tools, list) else []
    if len(in_tools) > MAX_TOOLS:
        raise _Refused(refused(f"It must have at most {MAX_TOOLS} tools.", "tools"))
    if any(in_tools):
        wanted.add("tools")
    start = text.index("{")
    places = dict(_find(text, start, wanted))
    if "tools" in places:
        places |= _find_in_tools(text, places.pop("tools").value[0] + 1, in_tools)
    if not text.isascii():
        places = _in_bytes(text, places)
    model = places.pop("model", None)
    return JsonText(
        document=document,
        insert_at=start + 1,
        model=model.value if model is not None else None,
        tool_models=tuple(place.value for path, place in places.items() if path.endswith("].model")),
        fields={path: place for path, place in places.items() if not path.endswith("].model")},
    )


def _options(values: JsonObject) -> set[str]:
    return {name for name in OPTIONS if isinstance(values.get(name, 0), str | None)}


def _named_in_tool(tool: JsonValue) -> Collection[str]:
    """Give what is wanted of a tool: of an image tool its type, its model and its options."""
    if not isinstance(tool, dict) or tool.get("type") != _IMAGE_TOOL:
        return ()
    return _options(tool) | {"type"} | ({"model"} if isinstance(tool.get("model"), str) else set())


def _find(text: str, at: int, wanted: Collection[str]) -> Mapping[str, FieldPlace]:
    """Find the ``wanted`` members of the object that begins at ``at``; each is known to be there."""
    found: dict[str, FieldPlace] = {}
    lead: int | None = None
    last = ""  # found, and what follows it not seen yet
    while wanted and (token := _KEY.match(text, at)):
        if last:
            found[last] = replace(found[last], follow=token.start(1))
            last = ""
        if len(found) == len(wanted):
            break
        key: str = _LOOSE.decode(token[1]) if "\\" in token[1] else token[1][1:-1]
        at = _value_end(text, token.end())
        if key in wanted:
            found[key] = FieldPlace(value=(token.end(), at), whole=(token.start(1), at), lead=lead)
            last = key
        lead = at
    return found


def _find_in_tools(text: str, at: int, in_tools: Sequence[Collection[str]]) -> Mapping[str, FieldPlace]:
    """Find what is wanted of each element of the array whose first stands at ``at``; by ``tools[i].name``."""
    found: dict[str, FieldPlace] = {}
    for index, wanted in enumerate(in_tools):
        at = next(_GAP.finditer(text, at)).end()
        found |= {f"tools[{index}].{name}": place for name, place in _find(text, at, wanted).items()}
        at = _value_end(text, at)
    return found


def moved(place: FieldPlace, to: Mapping[int, int]) -> FieldPlace:
    """Give a place with each of its offsets looked up in ``to``."""
    return FieldPlace(
        value=(to[place.value[0]], to[place.value[1]]),
        whole=(to[place.whole[0]], to[place.whole[1]]),
        lead=None if place.lead is None else to[place.lead],
        follow=None if place.follow is None else to[place.follow],
    )


def offsets_of(place: FieldPlace) -> Iterator[int]:
    """Give every offset of a place."""
    yield from (*place.value, *place.whole)
    yield from (at for at in (place.lead, place.follow) if at is not None)


def _in_bytes(text: str, places: Mapping[str, FieldPlace]) -> dict[str, FieldPlace]:
    offsets = _byte_offsets(text, {at for place in places.values() for at in offsets_of(place)})
    return {path: moved(place, offsets) for path, place in places.items()}


def _value_end(text: str, at: int) -> int:
    scalar = _SCALAR.match(text, at)
    if scalar is not None:
        return scalar.end()
    end: int = _LOOSE.raw_decode(text, at)[1]
    return end


def _byte_offsets(text: str, places: Collection[int]) -> Mapping[int, int]:
    """Give the byte offset of each character offset, in one pass."""
    offsets: dict[int, int] = {}
    passed = counted = 0
    for at in sorted(places):
        counted += len(text[passed:at].encode("utf-8"))
        passed = at
        offsets[at] = counted
    return offsets


def _is_deep(document: JsonObject) -> bool:
    level: list[JsonValue] = [document]
    for _ in range(MAX_DEPTH):
        level = [child for node in level for child in _inner(node)]
    return bool(level)


def _inner(node: JsonValue) -> list[JsonValue]:
    """Give the objects and arrays that stand directly in one."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [child for child in children if isinstance(child, (dict, list))]


def _too_deep() -> JsonFault:
    return refused(f"It must not nest deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    found = dict(pairs)
    if len(found) != len(pairs):
        counts = Counter(key for key, _ in pairs)
        twice = next(key for key in counts if counts[key] > 1)
        plain = twice if _PLAIN_KEY.fullmatch(twice) else None
        raise _Refused(refused("A key stands twice in one object.", plain))
    return found


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise _Refused(refused(f"An integer must have at most {MAX_DIGITS} digits."))
    return int(digits)


def _decimal(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):
        raise _Refused(refused("A number is too large."))
    return number


def _no_constant(_: str) -> None:
    raise _Refused(refused("NaN and Infinity are no JSON."))


_LOOSE = json.JSONDecoder()  # for text that is known to be sound
_STRICT = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_decimal, parse_constant=_no_constant
)
