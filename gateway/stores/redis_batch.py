"""Scripts of many requests on their way to Redis together: what is asked in one moment goes in one round.

A client's way to Redis costs several times what a script costs there, and is paid by the round. So what requests ask
while a round is on its way waits for the next one; up to ``ROUNDS`` are under way at a time. A script that Redis has
not (it was restarted) is sent whole. Each call is bounded by itself, however many are ahead of it.
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from hashlib import sha1
from typing import TYPE_CHECKING, Any, Final

from msgspec import Struct

if TYPE_CHECKING:
    from redis.asyncio import Redis

ROUNDS: Final = 4


class Lost(Exception):
    """Redis did not answer, or not what was asked."""


class Asked(Struct, eq=False):
    """One script that somebody waits for."""

    script: str
    keys: Sequence[str]
    arguments: Sequence[str | float]
    done: asyncio.Future[Any]


class Batch:
    """Belongs to one event loop. ``bounded`` gives what a round told, or raises ``Lost``.

    ``unknown`` is the client's error for a script that Redis has not.
    """

    def __init__(
        self,
        client: "Redis",
        bounded: Callable[[Coroutine[Any, Any, list[Any]]], Coroutine[Any, Any, list[Any]]],
        unknown: type[BaseException],
    ) -> None:
        self._client = client
        self._bounded = bounded
        self._unknown = unknown
        self._digests: dict[str, str] = {}
        self._waiting: list[Asked] = []
        self._rounds: set[asyncio.Future[None]] = set()

    async def ask(self, script: str, keys: Sequence[str], arguments: Sequence[str | float], within_s: float) -> Any:
        """Give what a script told. Raises ``TimeoutError``, ``Lost``, and the client's error for what Redis refused."""
        loop = asyncio.get_running_loop()
        asked = Asked(script, keys, arguments, loop.create_future())
        overdue = loop.call_later(within_s, _expire, asked.done)
        self._waiting.append(asked)
        if len(self._rounds) < ROUNDS:
            going = asyncio.ensure_future(self._go())
            self._rounds.add(going)
            going.add_done_callback(self._rounds.discard)
        try:
            return await asked.done
        finally:
            overdue.cancel()

    async def close(self) -> None:
        """Wait for no round any more; idempotent."""
        for going in list(self._rounds):
            going.cancel()
        if self._rounds:
            await asyncio.wait(self._rounds)

    async def _go(self) -> None:
        while self._waiting:
            batch, self._waiting = [one for one in self._waiting if not one.done.done()], []
            if batch:
                await self._round(batch)

    async def _round(self, batch: Sequence[Asked]) -> None:
        try:
            told = await self._bounded(self._send(batch))
        except Lost as lost:
            told = [lost] * len(batch)
        for one, answer in zip(batch, told, strict=True):
            if one.done.done():
                continue
            if isinstance(answer, BaseException):
                one.done.set_exception(answer)
            else:
                one.done.set_result(answer)

    async def _send(self, batch: Sequence[Asked]) -> list[Any]:
        pipe = self._client.pipeline(transaction=False)
        for one in batch:
            pipe.evalsha(self._digest(one.script), len(one.keys), *one.keys, *one.arguments)
        told: list[Any] = await pipe.execute(raise_on_error=False)
        missing = [at for at, answer in enumerate(told) if isinstance(answer, self._unknown)]
        if missing:
            for at in missing:
                one = batch[at]
                pipe.eval(one.script, len(one.keys), *one.keys, *one.arguments)
            for at, answer in zip(missing, await pipe.execute(raise_on_error=False), strict=True):
                told[at] = answer
        return told

    def _digest(self, script: str) -> str:
        digest = self._digests.get(script)
        if digest is None:
            digest = self._digests[script] = sha1(script.encode(), usedforsecurity=False).hexdigest()
        return digest


def _expire(done: asyncio.Future[Any]) -> None:
    if not done.done():
        done.set_exception(TimeoutError())
