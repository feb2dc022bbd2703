"""The line to Redis: every call is bounded, and while it is down nothing waits for it.

A call that fails, or is not answered in time, raises ``Lost``. A broken connection takes the line down at once, a few
answers in a row that did not come do so too (one may be this process's own fault); then every call raises at once,
until a ``beat`` is answered again within the time of a call. A Redis that refuses to write (read only, out of memory)
is as good as gone.
"""

import asyncio
import time
from collections.abc import Awaitable, Sequence
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from gateway.extras import how_to_install
from gateway.stores.redis_batch import Batch, Lost
from gateway.stores.refusals import LedgerRefused

if TYPE_CHECKING:
    from redis.asyncio import Redis

BOUND_S = 0.05
BEAT_BOUND_S = 0.2  # of what nobody waits for
NO_ANSWER = "no answer in time"
_GONE = (RuntimeError,)  # what uvloop raises when a connection goes while it is written to
PATIENCE = 3  # answers that did not come, one after the other
CONNECTIONS = 16
MODULES = ("asyncio", "asyncio.retry", "backoff", "exceptions")  # of an optional extra
NO_CLIENT = (
    "storage.shared names a Redis server, and this installation has no client for one: "
    f"install the extra, {how_to_install('redis')}"
)
__all__ = ["Lost", "RedisLine"]

_T = TypeVar("_T")


class RedisLine:
    """Belongs to one event loop. ``fault``: why the line is down, ``None`` while it is not.

    ``scripts``: all that will be run. A beat brings them to a Redis that may not know them, so that no call has to.
    """

    def __init__(self, url: str, scripts: Sequence[str], *, bound_s: float = BOUND_S) -> None:
        self._bound_s = bound_s
        self._client, self._errors, unknown = _open(url)
        self._batch = Batch(self._client, partial(self._asked, bound_s=bound_s), unknown)
        self._scripts = tuple(scripts)
        self._are_known = False
        self._silent = 0
        self.fault: str | None = None

    async def run(self, script: str, keys: Sequence[str], arguments: Sequence[str | float]) -> Any:
        """Run a script, together with those of others. Raises ``Lost``."""
        if self.fault is not None:
            raise Lost(self.fault)
        try:
            return await self._batch.ask(script, keys, arguments, self._bound_s)
        except TimeoutError:
            raise Lost(NO_ANSWER) from None
        except self._errors as error:  # this script was refused, and not the round
            self._missed(error)
            raise Lost(str(error)) from None

    async def take(self, key: str, value: str, for_ms: int) -> bool:
        """Set a key that is not there; whether it was not. Raises ``Lost``."""
        return bool(await self._bounded(self._client.set(key, value, nx=True, px=for_ms), self._bound_s))

    async def beat(
        self, stream: str, after: str | None, lines: Sequence[str], most: int
    ) -> tuple[int, list[tuple[str, str]]]:
        """Append lines to a stream and give what was appended after an id; also the server's time, in ms.

        Asked also while the line is down: an answer in time takes it up again. Raises ``Lost``.
        """
        pipe = self._client.pipeline(transaction=False)
        pipe.time()
        if after is not None:
            pipe.xrange(stream, f"({after}", "+", count=most)
        for line in lines:
            pipe.xadd(stream, {"line": line}, maxlen=most, approximate=True)
        for script in () if self._are_known else self._scripts:
            pipe.script_load(script)
        began, silent = time.monotonic(), self._silent
        told = await self._asked(pipe.execute(), BEAT_BOUND_S)
        self._are_known = True
        if time.monotonic() - began <= self._bound_s:
            self.fault = None
        else:  # a call would not have been answered in time
            self._silent = silent
            self._missed(TimeoutError())
        seconds, micros = told[0]
        found = [] if after is None else [(str(at), str(fields.get("line", ""))) for at, fields in told[1]]
        return int(seconds) * 1000 + int(micros) // 1000, found

    async def close(self) -> None:
        """Close the connections; idempotent."""
        await self._batch.close()
        await self._client.aclose()
        await self._client.connection_pool.disconnect()

    async def _bounded(self, call: Awaitable[_T], bound_s: float) -> _T:
        if self.fault is not None:
            _forget(call)
            raise Lost(self.fault)
        return await self._asked(call, bound_s)

    async def _asked(self, call: Awaitable[_T], bound_s: float) -> _T:
        try:
            async with asyncio.timeout(bound_s):
                answer = await call
        except self._errors as error:
            self._missed(error)
            raise Lost(str(error) or NO_ANSWER) from None
        self._silent = 0
        return answer

    def _missed(self, error: BaseException) -> None:
        is_silence = "imeout" in type(error).__name__
        self._silent += 1
        if not is_silence or self._silent >= PATIENCE:
            self._are_known = False
            self.fault = NO_ANSWER if is_silence else str(error) or type(error).__name__


def _open(url: str) -> "tuple[Redis, tuple[type[BaseException], ...], type[BaseException]]":
    try:
        client, retry, backoff, errors = (import_module(f"redis.{name}") for name in MODULES)
    except ImportError:
        raise LedgerRefused(NO_CLIENT) from None
    pool = client.BlockingConnectionPool.from_url(
        url,
        max_connections=CONNECTIONS,
        timeout=BOUND_S,
        decode_responses=True,
        socket_connect_timeout=BEAT_BOUND_S,
        socket_timeout=BEAT_BOUND_S,
        retry=retry.Retry(backoff.NoBackoff(), 0),
        protocol=2,  # a new connection asks nothing before its first call, which would not be in time
        driver_info=None,
    )
    return client.Redis(connection_pool=pool), (errors.RedisError, OSError, TimeoutError, *_GONE), errors.NoScriptError


def _forget(call: Awaitable[object]) -> None:
    """Drop a call that was never made."""
    close = getattr(call, "close", None)
    if close is not None:
        close()
