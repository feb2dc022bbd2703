"""What the file format knows and this version does not do, as data: each key with the sentence that refuses it.

Nothing is parsed and ignored: a key that would have no effect stops the load. A version that builds one of these
removes its line. ``*`` in a path stands for any name or position.
"""

from collections.abc import Iterator

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.config.mistake import KeyPath, Mistake, mistake
from gateway.config.nodes import Block, Entry, Items, Node, Scalar, block, items


class Unbuilt(Struct, frozen=True, kw_only=True):
    """One line of the table.

    ``only``: refused only with one of these words; ``but``: refused with anything but these words; neither: refused
    whatever it holds. ``empty_is_fine``: an empty list or null passes.
    """

    path: str
    sentence: str
    only: frozenset[str] = frozenset()
    but: frozenset[str] = frozenset()
    empty_is_fine: bool = False

    def refuses(self, path: KeyPath, node: Node) -> bool:
        """Whether this line refuses ``node`` at ``path``."""
        steps = self.path.split(".")
        if len(steps) != len(path) or any(mine not in {"*", str(its)} for mine, its in zip(steps, path, strict=True)):
            return False
        if self.empty_is_fine and _is_empty(node):
            return False
        words = self.only or self.but
        if not words:
            return True
        told = isinstance(node, Scalar) and (node.text in words)
        return told if self.only else not (told or (isinstance(node, Scalar) and node.broken))


def _is_empty(node: Node) -> bool:
    if isinstance(node, Items):
        return not node.items
    return isinstance(node, Scalar) and node.plain and node.text in {"", "~", "null"}


def _words(*words: str) -> frozenset[str]:
    return frozenset(words)


UNBUILT: tuple[Unbuilt, ...] = (
    Unbuilt(
        path="channels.*.api",
        sentence="this version does not support this 'api': use openai or sandbox",
        only=_words("azure", "gemini", "chat_images", "openrouter", "xai"),
    ),
    Unbuilt(
        path="routes.*.on_failure.cut",
        sentence="this version does not support a choice for 'cut': part of the answer is with the client by then",
    ),
    Unbuilt(
        path="routes.*.on_failure.client_gone",
        sentence="this version does not support a choice for 'client_gone': a call that was sent is finished",
    ),
    Unbuilt(
        path="keys",
        sentence="'keys' are made with `waybill keys create` and kept in the ledger: leave the list empty",
        empty_is_fine=True,
    ),
)


class Built(Struct, frozen=True, kw_only=True):
    """The tree without what was refused."""

    root: Block
    mistakes: tuple[Mistake, ...]


def refuse(root: Block) -> Built:
    """Take out every value that a line of the table refuses, each with its mistake."""
    pruner = _Pruner()
    return Built(root=pruner.block(root, ()), mistakes=tuple(pruner.mistakes))


class _Pruner(Struct, kw_only=True):
    mistakes: list[Mistake] = field(default_factory=list)

    def block(self, node: Block, path: KeyPath) -> Block:
        return block(dict(self._kept(node, path)), node.mark)

    def _kept(self, node: Block, path: KeyPath) -> Iterator[tuple[str, Entry]]:
        for key, entry in node.entries.items():
            here = (*path, key)
            line = next((line for line in UNBUILT if line.refuses(here, entry.node)), None)
            if line is None:
                yield key, replace(entry, node=self._node(entry.node, here))
            else:
                self.mistakes.append(mistake(entry.mark, here, line.sentence))

    def _node(self, node: Node, path: KeyPath) -> Node:
        if isinstance(node, Block):
            return self.block(node, path)
        if isinstance(node, Items):
            return items(tuple(self._node(item, (*path, at)) for at, item in enumerate(node.items)), node.mark)
        return node
