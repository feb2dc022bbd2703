"""Bytes of a YAML file -> a tree of located nodes, or the mistakes that keep it from being one.

The parser's events are taken one by one and nothing recurses, so that no file can exhaust the stack; size, depth and
what aliases expand to are bounded while reading. Refused, each with its place: what is not UTF-8, a second document,
explicit tags, keys that are not words, a key given twice, an alias inside its own anchor.
"""

from collections.abc import Iterable

import yaml
from msgspec import Struct, field

from gateway.config import syntax
from gateway.config.mistake import START, KeyPath, Mark, Mistake, mistake, quoted
from gateway.config.nodes import Block, Entry, Items, Node, Scalar, block, items
from gateway.config.syntax import mark_of

MAX_BYTES = 1_000_000
MAX_DEPTH = 24
MAX_NODES = 50_000

_Parser = yaml.CSafeLoader if yaml.__with_libyaml__ else yaml.SafeLoader
_MERGE = "<<"


class Parsed(Struct, frozen=True, kw_only=True):
    """What could be read. ``root`` is absent when the file is not one block of keys."""

    root: Block | None
    mistakes: tuple[Mistake, ...]


class _Unreadable(Exception):
    """Reading cannot go on; carries the mistake. Never leaves this file."""

    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mistake = mistake(mark, (), message)


class _Open(Struct, kw_only=True):
    """A list or block that has begun and not ended. ``key`` is the key whose value comes next."""

    mark: Mark
    anchor: str | None
    is_block: bool
    nodes: list[Node] = field(default_factory=list)
    entries: dict[str, Entry] = field(default_factory=dict)
    merged: dict[str, Entry] = field(default_factory=dict)
    key: Scalar | None = None


def parse(data: bytes) -> Parsed:
    """Read a file. Total: whatever the bytes are, the answer is a tree, mistakes, or both."""
    if len(data) > MAX_BYTES:
        return _unreadable(START, f"the file is larger than {MAX_BYTES} bytes")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        mark = Mark(line=before.count("\n") + 1, column=len(before) - before.rfind("\n"))
        return _unreadable(mark, "the file is not UTF-8")
    reader = _Reader()
    try:
        root = reader.read(yaml.parse(text, Loader=_Parser))
    except _Unreadable as stop:
        return Parsed(root=None, mistakes=(*reader.mistakes, stop.mistake))
    except yaml.YAMLError as error:
        return Parsed(root=None, mistakes=(*reader.mistakes, syntax.unreadable(error, text)))
    if isinstance(root, Block):
        return Parsed(root=root, mistakes=tuple(reader.mistakes))
    return _unreadable(START if root is None else root.mark, "the file must be a block of keys, the first 'version: 1'")


class _Reader:
    """Folds the parser's events into nodes; collects what is wrong but does not stop the reading."""

    __slots__ = ("_anchors", "_nodes", "_open", "_root", "mistakes")

    def __init__(self) -> None:
        self.mistakes: list[Mistake] = []
        self._anchors: dict[str, Node | None] = {}
        self._open: list[_Open] = []
        self._root: Node | None = None
        self._nodes = 0

    def read(self, events: Iterable[yaml.Event]) -> Node | None:
        """Take all events; give the root node, nothing for an empty file."""
        documents = 0
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise _Unreadable(_mark(event), "the file must hold one document: remove the '---' before this one")
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._end()
            elif isinstance(event, yaml.NodeEvent):
                self._begin(event)
        return self._root

    def _begin(self, event: yaml.NodeEvent) -> None:
        mark = _mark(event)
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise _Unreadable(mark, f"the file holds more than {MAX_NODES} values")
        if isinstance(event, yaml.AliasEvent):
            self._place(self._aliased(event.anchor, mark), None)
            return
        if isinstance(event, yaml.ScalarEvent):
            self._refuse_tag(event.tag, mark)
            plain = event.style is None or event.style == ""
            self._place(Scalar(text=_clean(event.value, mark), plain=plain, mark=mark), event.anchor)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._refuse_tag(event.tag, mark)
            if len(self._open) >= MAX_DEPTH:
                raise _Unreadable(mark, f"values are nested more than {MAX_DEPTH} deep")
            if event.anchor is not None:
                self._anchors[event.anchor] = None
            is_block = isinstance(event, yaml.MappingStartEvent)
            self._open.append(_Open(mark=mark, anchor=event.anchor, is_block=is_block))

    def _end(self) -> None:
        closed = self._open.pop()
        if closed.is_block:
            self._place(block({**closed.merged, **closed.entries}, closed.mark), closed.anchor)
        else:
            self._place(items(tuple(closed.nodes), closed.mark), closed.anchor)

    def _place(self, node: Node, anchor: str | None) -> None:
        if node.size > MAX_NODES:
            raise _Unreadable(node.mark, f"aliases make this more than {MAX_NODES} values")
        if node.depth > MAX_DEPTH:
            raise _Unreadable(node.mark, f"values are nested more than {MAX_DEPTH} deep")
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self._root = node
            return
        parent = self._open[-1]
        if not parent.is_block:
            parent.nodes.append(node)
        elif parent.key is None:
            parent.key = self._key(node)
        else:
            self._set(parent, parent.key, node)
            parent.key = None

    def _key(self, node: Node) -> Scalar:
        if isinstance(node, Scalar):
            return node
        raise _Unreadable(node.mark, "a key must be one word, not a list or a block")

    def _set(self, parent: _Open, key: Scalar, node: Node) -> None:
        if key.plain and key.text == _MERGE:
            self._merge(parent, key, node)
            return
        first = parent.entries.get(key.text)
        if first is None:
            parent.entries[key.text] = Entry(mark=key.mark, node=node)
            return
        said = f"{quoted(key.text)} is given twice; the first is on line {first.mark.line}"
        self.mistakes.append(mistake(key.mark, (*self._path(), key.text), said))

    def _merge(self, parent: _Open, key: Scalar, node: Node) -> None:
        for source in node.items if isinstance(node, Items) else (node,):
            if not isinstance(source, Block):
                self.mistakes.append(
                    mistake(key.mark, (*self._path(), _MERGE), "'<<' takes a block or a list of blocks")
                )
                return
            for name, entry in source.entries.items():
                parent.merged.setdefault(name, entry)

    def _path(self) -> KeyPath:
        return _steps(self._open[:-1])

    def _aliased(self, anchor: str | None, mark: Mark) -> Node:
        node = self._anchors.get(anchor or "")
        if node is None:
            known = anchor in self._anchors
            said = "stands inside the value it names" if known else "names an anchor that is not above it"
            raise _Unreadable(mark, f"the alias {quoted('*' + (anchor or ''))} {said}")
        return node

    def _refuse_tag(self, tag: str | None, mark: Mark) -> None:
        if tag is not None:
            self.mistakes.append(
                mistake(mark, _steps(self._open), f"the tag {quoted(tag)} has no meaning here: remove it")
            )


def _steps(opened: Iterable[_Open]) -> KeyPath:
    steps: list[str | int] = []
    for one in opened:
        if not one.is_block:
            steps.append(len(one.nodes))
        elif one.key is not None:
            steps.append(one.key.text)
    return tuple(steps)


def _clean(text: str, mark: Mark) -> str:
    if any("\ud800" <= char <= "\udfff" for char in text):
        raise _Unreadable(mark, "the value holds half a character (a lone surrogate)")
    return text


def _mark(event: yaml.Event) -> Mark:
    return mark_of(event.start_mark)


def _unreadable(mark: Mark, message: str) -> Parsed:
    return Parsed(root=None, mistakes=(mistake(mark, (), message),))
