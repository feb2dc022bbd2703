"""What the model refused, said in the file's own words: place, path, sentence, and the nearest known word."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from gateway.config.contract_blocks import ContractBlock
from gateway.config.mistake import MAX_MISTAKES, KeyPath, Mistake, listed, mistake, nearest, quoted, suggestion
from gateway.config.model import TargetBlock
from gateway.config.nodes import Found, Node, Scalar, find, is_null
from gateway.config.price_blocks import PriceBlock
from gateway.config.route_blocks import ActionBlock, UseBlock

_INNER = frozenset({"properties", "enum", "items", "additionalProperties"})  # of a schema that says what lies below
_KEY = "[key]"  # pydantic's last step when it is a mapping's key that is wrong

_SENTENCES: Mapping[str, str] = {
    "model_type": "must be a block of keys",
    "dict_type": "must be a block of keys",
    "list_type": "must be a list",
    "string_type": "must be text; put quotes around a number, or around text with a colon",
    "too_short": "must have at least one entry",
    "too_long": "must be empty",
    **dict.fromkeys(("bool_type", "bool_parsing"), "must be true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "must be a whole number"),
    **dict.fromkeys(("greater_than_equal", "less_than_equal"), "must be between 0 and 1000000000"),
}
_OTHERWISE = "cannot be read"  # the library's own words speak of its types, not of the file
_WORD_OR_BLOCK: Mapping[str, str] = {
    TargetBlock.__name__: "must be a channel's name, or {channel: NAME, row: NAME}",
    UseBlock.__name__: "must be a channel's name, or {channel: NAME, row: NAME}",
    ContractBlock.__name__: "must be a contract's name, or {extends: NAME, FIELD: VALUE}",
    PriceBlock.__name__: "must be the name of a price, or a block with a unit",
    ActionBlock.__name__: "must be next, stop or downgrade, or {action: same, times: N}",
}
_MISSING: Mapping[str, str] = {
    "version": ": write 'version: 1'",
    "owner": ": whose contract and bill is it?",
}


def explain(error: ValidationError, root: Node, model: type[BaseModel]) -> list[Mistake]:
    """Turn a validation error into mistakes.

    Nothing is said of a value that was reported before, and a key that is there under a misspelt name is reported
    once, as misspelt, and not as missing too.
    """
    schema = model.model_json_schema(by_alias=True)
    faults = error.errors(include_url=False, include_input=False)[: MAX_MISTAKES + 1]
    misspelt = {_meant(fault["loc"], schema) for fault in faults if fault["type"] == "extra_forbidden"}
    said = (
        _said(fault, root, schema) for fault in faults if not (fault["type"] == "missing" and fault["loc"] in misspelt)
    )
    return [one for one in said if one is not None]


def _meant(path: KeyPath, schema: Mapping[str, Any]) -> KeyPath:
    return (*path[:-1], nearest(str(path[-1]), _known_keys(schema, path[:-1])) or "")


def _said(fault: ErrorDetails, root: Node, schema: Mapping[str, Any]) -> Mistake | None:
    is_key = bool(fault["loc"]) and fault["loc"][-1] == _KEY
    path: KeyPath = fault["loc"][:-1] if is_key else fault["loc"]
    found = find(root, path)
    if isinstance(found.node, Scalar) and found.node.broken:
        return None
    kind = fault["type"]
    if isinstance(found.node, Scalar) and not found.whole and not is_null(found.node):
        found = find(root, path := path[:-1])  # one word that stands for a block
    if kind == "extra_forbidden":
        known = _known_keys(schema, path[:-1])
        return mistake(found.key_mark, path, f"is not a key here{suggestion(str(path[-1]), known)}")
    if kind == "missing":
        return mistake(found.key_mark, path, f"is missing{_MISSING.get(str(path[-1]), '')}")
    at_key = is_key or not found.whole or is_null(found.node)
    mark = found.key_mark if at_key else found.node.mark
    return mistake(mark, path, _sentence(fault, found, schema, str(path[-1]) if is_key else None))


def _sentence(fault: ErrorDetails, found: Found, schema: Mapping[str, Any], key: str | None) -> str:
    kind = fault["type"]
    if kind == "value_error":
        return str(fault.get("ctx", {}).get("error", fault["msg"]))
    if kind in {"enum", "literal_error"}:
        return _choice(found, _words(schema, fault["loc"]), key)
    if kind == "model_type" and fault.get("ctx", {}).get("class_name") in _WORD_OR_BLOCK:
        return _WORD_OR_BLOCK[fault["ctx"]["class_name"]]
    return _SENTENCES.get(kind, _OTHERWISE)


def _choice(found: Found, words: Sequence[str], key: str | None) -> str:
    given = key
    if given is None and isinstance(found.node, Scalar) and not found.node.from_variable:
        given = found.node.text
    if given is None:
        return f"must be {listed(words)}"
    if len(words) > 6:
        return f"{quoted(given)} is not known here{suggestion(given, words) or f': use {listed(words)}'}"
    return f"{quoted(given)} is not known here: use {listed(words)}{suggestion(given, words)}"


def _known_keys(schema: Mapping[str, Any], path: KeyPath) -> Sequence[str]:
    return list(_at(schema, path).get("properties", {}))


def _words(schema: Mapping[str, Any], loc: KeyPath) -> Sequence[str]:
    node = _at(schema, loc)
    return list(node["enum"]) if "enum" in node else [str(node.get("const", "something else"))]


def _at(schema: Mapping[str, Any], path: KeyPath) -> Mapping[str, Any]:
    """Walk down the JSON Schema, along a path of the file, to the schema of that value."""
    node = _resolved(schema, schema)
    for at, step in enumerate(path):
        if step == _KEY:
            return node
        if isinstance(step, int):
            below = node.get("items", {})
        elif at + 1 < len(path) and path[at + 1] == _KEY:
            below = node.get("propertyNames", {})
        else:
            below = node.get("properties", {}).get(step) or node.get("additionalProperties") or {}
        node = _resolved(schema, below)
    return node


def _resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Mapping[str, Any]:
    if "$ref" in node:
        return _resolved(schema, schema["$defs"][node["$ref"].rpartition("/")[2]])
    choices = [_resolved(schema, choice) for choice in node.get("anyOf", ())]
    return next((choice for choice in choices if _INNER & choice.keys()), node)
