"""Mistakes that no single value shows: references that lead nowhere, and keys that contradict each other.

Works on the tree and not on the validated model, so that these mistakes are reported together with all others.
Says nothing of what the model already refuses.
"""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from msgspec import Struct

from gateway.config import rules
from gateway.config.mistake import MAX_MISTAKES, KeyPath, Mark, Mistake, mistake, nearest, quoted, suggestion
from gateway.config.model import ChannelBlock
from gateway.config.nodes import Block, Entry, Node, Scalar, block_at, items_at, shown, value_of, word
from gateway.core.delivery import Deliver
from gateway.core.table import Api, ChannelKind
from gateway.core.types import Surface

_SANDBOX = "sandbox"
_NEEDY = frozenset({ChannelKind.DIRECT, ChannelKind.GATEWAY})
_NEEDED: Mapping[str, str] = {
    "base_url": "where does the API lie?",
    "api_key": "write ${NAME} and set NAME outside",
}


def check(root: Block) -> list[Mistake]:
    """Give the mistakes between the values of a tree, as many as are worth reading."""
    return list(islice(_all(root), MAX_MISTAKES + 1))


def _all(root: Block) -> Iterator[Mistake]:
    channels, routes = block_at(root.get("channels")), block_at(root.get("routes"))
    for name, entry in {} if channels is None else channels.entries.items():
        yield from _channel(name, entry)
    if routes is not None:
        for name, entry in routes.entries.items():
            yield from _route(name, entry, channels)
        yield from _default_for_twice(routes)
    yield from _nowhere_to_forward(root, channels)


def _channel(name: str, entry: Entry) -> Iterator[Mistake]:
    node = block_at(entry.node)
    if node is None:
        return
    path: KeyPath = ("channels", name)
    kind, api = _probable(node, "kind", ChannelKind), _probable(node, "api", Api)
    if kind and api and (api == _SANDBOX) is not (kind == _SANDBOX):
        said = "kind: sandbox and api: sandbox belong together; only one of them is given"
        yield mistake(node.entries["api"].mark, (*path, "api"), said)
        return
    for key, what in _NEEDED.items():
        given = node.get(key)
        if _SANDBOX in {kind, api} and given is not None:
            yield mistake(node.entries[key].mark, (*path, key), "has no place on a sandbox channel: it calls nobody")
        elif kind in _NEEDY and given is None and not _is_misspelt(node, key):
            yield mistake(entry.mark, (*path, key), f"is missing: {what}")
    yield from _api_key(node, path)


def _nowhere_to_forward(root: Block, channels: Block | None) -> Iterator[Mistake]:
    state = block_at(root.get("state"))
    node = None if state is None else state.get("unknown_ids")
    if node is None or word(node) != "forward" or channels is None:
        return
    keeps = [name for name, entry in channels.entries.items() if _keeps_responses(block_at(entry.node))]
    if len(keeps) != 1:
        who = " and ".join(quoted(name) for name in keeps[:2]) or "none"
        said = f"forward needs exactly one channel that serves responses, the sandbox aside: here it is {who}"
        yield mistake(node.mark, ("state", "unknown_ids"), said)


def _keeps_responses(channel: Block | None) -> bool:
    rows = None if channel is None else block_at(channel.get("rows"))
    if channel is None or rows is None or _SANDBOX in {word(channel.get("kind")), word(channel.get("api"))}:
        return False
    blocks = [row for entry in rows.entries.values() if (row := block_at(entry.node)) is not None]
    return any(word(one) == Surface.RESPONSES for row in blocks for one in items_at(row.get("serves")))


def _probable(node: Block, key: str, known: Iterable[str]) -> str | None:
    """Give the word of a key, or the known word it is a misspelling of."""
    given = word(node.get(key))
    return None if given is None else nearest(given, known)


def _is_misspelt(node: Block, key: str) -> bool:
    known = ChannelBlock.model_fields
    return any(nearest(name, known) == key for name in node.entries if name not in known)


def _api_key(node: Block, path: KeyPath) -> Iterator[Mistake]:
    given = node.get("api_key")
    if isinstance(given, Scalar) and not all("!" <= char <= "~" for char in given.text.strip()):
        yield mistake(given.mark, (*path, "api_key"), "holds a character that no header can carry")


def _route(name: str, entry: Entry, channels: Block | None) -> Iterator[Mistake]:
    node = block_at(entry.node)
    if node is None:
        return
    path: KeyPath = ("routes", name)
    seen: set[tuple[str, str]] = set()
    served: set[str] = set()
    for at, target in enumerate(items_at(node.get("targets"))):
        here: KeyPath = (*path, "targets", at)
        ends = _ends(target, name)
        if ends is None or channels is None:
            continue
        wrong = _dangling(channels, ends)
        if wrong is not None:
            yield mistake(wrong.mark, here, wrong.sentence)
            continue
        pair = (ends.channel, ends.row)
        if pair in seen:
            yield mistake(target.mark, here, f"{quoted('/'.join(pair))} is a target already")
        seen.add(pair)
        served |= _surfaces(channels, ends)
    yield from _unserved(node, path, served)
    yield from _undeliverable(node, path, served)
    yield from rules.check(name, node)


class _Ends(Struct, frozen=True, kw_only=True):
    """What one target names: channel and row, each with the node that names it."""

    channel: str
    row: str
    channel_node: Node
    row_node: Node


class _Dangling(Struct, frozen=True, kw_only=True):
    mark: Mark
    sentence: str


def _ends(target: Node, route: str) -> _Ends | None:
    at_channel = target.get("channel") if isinstance(target, Block) else target
    at_row = target.get("row") if isinstance(target, Block) else None
    channel, row = word(at_channel), route if at_row is None else word(at_row)
    if at_channel is None or channel is None or row is None:
        return None
    return _Ends(channel=channel, row=row, channel_node=at_channel, row_node=at_row or target)


def _dangling(channels: Block, ends: _Ends) -> _Dangling | None:
    if ends.channel not in channels.entries:
        near = suggestion(ends.channel, channels.entries)
        said = f"there is no channel {shown(ends.channel_node, ends.channel)}{near}"
        return _Dangling(mark=ends.channel_node.mark, sentence=said)
    rows = _rows(channels, ends.channel)
    if rows is None or ends.row in rows.entries:
        return None
    near = suggestion(ends.row, rows.entries)
    said = f"channel {quoted(ends.channel)} has no row {shown(ends.row_node, ends.row)}{near}"
    return _Dangling(mark=ends.row_node.mark, sentence=said)


def _rows(channels: Block, channel: str) -> Block | None:
    node = block_at(channels.get(channel))
    return None if node is None else block_at(node.get("rows"))


def _surfaces(channels: Block, ends: _Ends) -> set[str]:
    rows = _rows(channels, ends.channel)
    node = None if rows is None else block_at(rows.get(ends.row))
    if node is not None and node.get("serves") is None:
        return set(Surface)  # its contract tells, or it is a mistake that is told elsewhere
    return set() if node is None else {text for item in items_at(node.get("serves")) if (text := word(item))}


def _unserved(node: Block, path: KeyPath, served: set[str]) -> Iterator[Mistake]:
    for at, item in enumerate(items_at(node.get("default_for"))):
        surface = word(item)
        if served and surface in set(Surface) - served:
            yield mistake(item.mark, (*path, "default_for", at), f"no target of this route serves {surface}")


def _undeliverable(node: Block, path: KeyPath, served: set[str]) -> Iterator[Mistake]:
    given, keep = node.get("deliver"), node.get("keep")
    form = word(given)
    if given is None or form not in set(Deliver) - {Deliver.AS_ASKED}:
        return
    here: KeyPath = (*path, "deliver")
    if served and not any(Surface(surface).is_images for surface in served & set(Surface)):
        yield mistake(given.mark, here, "has no effect: no target of this route serves an images surface")
    elif form != Deliver.B64_JSON and isinstance(keep, Scalar) and value_of(keep) is False:
        yield mistake(given.mark, here, f"{form} needs addresses, and this route keeps no picture (keep: false)")


def _default_for_twice(routes: Block) -> Iterator[Mistake]:
    first: dict[str, str] = {}
    for name, entry in routes.entries.items():
        node = block_at(entry.node)
        for at, item in enumerate(items_at(None if node is None else node.get("default_for"))):
            surface = word(item)
            if surface is None or surface not in set(Surface):
                continue
            if first.setdefault(surface, name) != name:
                said = f"{quoted(first[surface])} is the default route for {surface} already"
                yield mistake(item.mark, ("routes", name, "default_for", at), said)
