"""A connection to Redis that goes in the very moment something is written to it, on either event loop."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop

from gateway.stores.redis_line import Lost, RedisLine
from gateway.stores.redis_scripts import RELEASE, SCRIPTS
from tests.servers.redis import redis_server

CALLS: dict[str, Callable[[RedisLine], Awaitable[object]]] = {
    "take": lambda line: line.take("a", "1", 1_000),
    "run": lambda line: line.run(RELEASE, ["a"], ["1"]),
    "beat": lambda line: line.beat("news", None, [], 10),
}


async def told(url: str, call: Callable[[RedisLine], Awaitable[object]]) -> None:
    line = RedisLine(url, SCRIPTS)
    await line.beat("news", None, [], 10)
    connection: Any = line._client.connection_pool._available_connections[0]
    send = connection.send_packed_command

    async def gone(*command: object, **how: object) -> None:
        connection._writer.transport.abort()
        await asyncio.sleep(0.001)
        await send(*command, **how)

    connection.send_packed_command = gone
    with pytest.raises(Lost):
        await call(line)
    assert isinstance(line.fault, str)
    del connection.send_packed_command
    await line.beat("news", None, [], 10)  # and it is taken up again
    assert not line.fault
    await line.close()


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
@pytest.mark.parametrize("name", CALLS)
def test_a_connection_that_goes_while_it_is_written_to_is_lost(
    name: str, loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    with redis_server() as redis, asyncio.Runner(loop_factory=loop) as runner:
        runner.run(told(redis.url, CALLS[name]))
