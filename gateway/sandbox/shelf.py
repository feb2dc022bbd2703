"""The Responses the sandbox has given, for as long as it remembers them: in memory, the oldest forgotten first.

Rules: bounded in number and in bytes. It must never draw and never wait.
"""

from collections import OrderedDict

import orjson
from msgspec import Struct

from gateway.codecs import sandbox_kept as said
from gateway.codecs.sandbox import Answer, Turn
from gateway.core.errand import Errand

MOST = 256
MOST_BYTES = 32 * 1024 * 1024


class _Kept(Struct, frozen=True, kw_only=True):
    body: bytes
    prompt: str


class Shelf:
    """Remembers Responses by their ids."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._bytes = 0

    def put(self, answer: Answer, prompt: str) -> None:
        """Remember a Response that was given whole."""
        name = str(orjson.loads(answer.body)["id"])
        self._kept[name] = _Kept(body=answer.body, prompt=prompt)
        self._bytes += len(answer.body)
        while len(self._kept) > MOST or self._bytes > MOST_BYTES:
            _, oldest = self._kept.popitem(last=False)
            self._bytes -= len(oldest.body)

    def answer(self, errand: Errand, subject: str | None, turn: Turn) -> Answer:
        """Answer anything but a new turn."""
        if errand is Errand.INPUT_TOKENS:
            return said.input_tokens(turn)
        if errand is Errand.COMPACT:
            return said.compaction(turn)
        name = subject or ""
        kept = self._kept.get(name)
        if kept is None:
            return said.missing(name)
        if errand is Errand.INPUT_ITEMS:
            return said.items(name, kept.prompt)
        if errand is Errand.DELETE:
            del self._kept[name]
            self._bytes -= len(kept.body)
            return said.deleted(name)
        return said.whole(kept.body)
