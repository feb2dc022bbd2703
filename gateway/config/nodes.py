"""A YAML file as a tree that knows where each word stands.

Three kinds of node: ``Scalar``, ``Items`` (a list) and ``Block`` (keys and values). Every node carries the place it
was written, and its ``size`` and ``depth`` with aliases written out, so that a small file cannot stand for a huge
one. Plain words are read by the YAML 1.2 rules: only ``true``, ``false``, ``null`` and numbers are not text, so that
a model or a channel may be called ``no`` or ``on``.
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

from msgspec import Struct

from gateway.config.mistake import START, KeyPath, Mark, quoted

Plain: TypeAlias = "str | int | float | bool | list[Plain] | dict[str, Plain] | None"

_WHOLE = re.compile(r"[-+]?[0-9]{1,18}")
_FRACTION = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NUMBER_CHARS = 32  # longer is text: no value of the file needs it, and reading it would cost time
_CONSTANTS: Mapping[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


class Scalar(Struct, frozen=True, kw_only=True):
    """One value. ``plain``: written without quotes. ``from_variable``: holds text that must not be repeated.

    ``absent`` says why a secret is not there (``OPENAI_API_KEY is not set``). ``broken``: a mistake was reported for
    it already, so that nothing else is said of it.
    """

    text: str
    plain: bool
    mark: Mark
    from_variable: bool = False
    absent: str | None = None
    broken: bool = False
    size: int = 1
    depth: int = 1


class Items(Struct, frozen=True, kw_only=True):
    """A list."""

    items: tuple["Node", ...]
    mark: Mark
    size: int
    depth: int


class Entry(Struct, frozen=True, kw_only=True):
    """One key of a block, with the place of the key itself."""

    mark: Mark
    node: "Node"


class Block(Struct, frozen=True, kw_only=True):
    """Keys and values, in file order."""

    entries: Mapping[str, Entry]
    mark: Mark
    size: int
    depth: int

    def get(self, key: str) -> "Node | None":
        """Give the value of a key; ``None`` when the key is not there or holds null."""
        entry = self.entries.get(key)
        return None if entry is None or is_null(entry.node) else entry.node


Node: TypeAlias = Scalar | Items | Block


def items(nodes: tuple[Node, ...], mark: Mark) -> Items:
    """Build a list node, measured."""
    return Items(items=nodes, mark=mark, size=_size(nodes), depth=_depth(nodes))


def block(entries: Mapping[str, Entry], mark: Mark) -> Block:
    """Build a block node, measured."""
    nodes = tuple(entry.node for entry in entries.values())
    return Block(entries=entries, mark=mark, size=_size(nodes), depth=_depth(nodes))


def is_null(node: Node) -> bool:
    """Whether the node says that nothing is given."""
    return isinstance(node, Scalar) and not node.broken and node.absent is None and value_of(node) is None


def block_at(node: Node | None) -> Block | None:
    """Give the node when it is a block, else nothing."""
    return node if isinstance(node, Block) else None


def items_at(node: Node | None) -> tuple[Node, ...]:
    """Give the nodes of a list, none when it is no list."""
    return node.items if isinstance(node, Items) else ()


def word(node: Node | None) -> str | None:
    """Give the text of a scalar that holds text, else nothing."""
    value = value_of(node) if isinstance(node, Scalar) and not node.broken else None
    return value if isinstance(value, str) else None


def shown(node: Node, text: str) -> str:
    """Write a node's text inside a message, unless it came out of a variable."""
    is_hidden = isinstance(node, Scalar) and node.from_variable
    return "what the variable holds" if is_hidden else quoted(text)


def value_of(node: Scalar) -> str | int | float | bool | None:
    """Read one scalar: its text when quoted, else what YAML 1.2 takes the word for."""
    if node.absent is not None or node.broken:
        return None
    if node.from_variable:
        return node.text or None
    if not node.plain:
        return node.text
    if node.text in _CONSTANTS:
        return _CONSTANTS[node.text]
    if _WHOLE.fullmatch(node.text):
        return int(node.text)
    is_number = len(node.text) <= _NUMBER_CHARS and _FRACTION.fullmatch(node.text)
    return float(node.text) if is_number else node.text


def plain(node: Node) -> Plain:
    """Turn a tree into plain Python values."""
    if isinstance(node, Scalar):
        return value_of(node)
    if isinstance(node, Items):
        return [plain(item) for item in node.items]
    return {key: plain(entry.node) for key, entry in node.entries.items()}


class Found(Struct, frozen=True, kw_only=True):
    """The nearest node to a path: the node, the place of its key, and whether the whole path was there."""

    node: Node
    key_mark: Mark
    whole: bool


def find(root: Node, path: KeyPath) -> Found:
    """Walk down a path as far as the file goes."""
    node, key_mark = root, START
    for step in path:
        if isinstance(node, Block) and isinstance(step, str) and step in node.entries:
            entry = node.entries[step]
            node, key_mark = entry.node, entry.mark
        elif isinstance(node, Items) and isinstance(step, int) and step < len(node.items):
            node = node.items[step]
            key_mark = node.mark
        else:
            return Found(node=node, key_mark=key_mark, whole=False)
    return Found(node=node, key_mark=key_mark, whole=True)


def _size(nodes: tuple[Node, ...]) -> int:
    return 1 + sum(node.size for node in nodes)


def _depth(nodes: tuple[Node, ...]) -> int:
    return 1 + max((node.depth for node in nodes), default=0)
