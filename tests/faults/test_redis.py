"""A store replicas share that is killed, stopped or slow meanwhile: no picture waits for it, and what holds is said."""

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.fakes.answers import image_answer
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.pair import GENERATION, routes_file
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.servers.postgres import Postgres
from tests.servers.redis import RedisServer, redis_server
from tests.servers.slow_line import SlowLine, slow_line


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_redis_that_is_gone_in_the_middle(tmp_path: Path, how: str) -> None:
    with redis_server() as redis:
        async with FakeUpstream(key="sk-A", default=reply(200, image_answer())) as upstream:
            routes = yaml.safe_load(routes_file({"A": upstream.url}, A={"limits": {"rpm": 600}}))
            routes["storage"] = {"shared": redis.url}
            async with (
                running_gateway(yaml.safe_dump(routes), tmp_path) as gateway,
                httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as client,
            ):

                async def buy() -> int:
                    return (await client.post(f"{gateway.url}/v1/images/generations", json=GENERATION)).status_code

                async def shared() -> str:
                    return str((await client.get(f"{gateway.url}/readyz")).json()["shared"])

                async def said(word: str) -> None:
                    async with asyncio.timeout(10):
                        while not (await shared()).startswith(word):  # noqa: ASYNC110 - behind a socket
                            await asyncio.sleep(0.05)

                await said("ok")
                assert await buy() == 200
                upstream.play(reply(200, image_answer(), delay_s=0.5))
                under_way = asyncio.ensure_future(buy())
                await upstream.counted(2)
                getattr(redis, how)()
                began = time.monotonic()
                assert [await buy() for _ in range(5)] == [200] * 5
                assert time.monotonic() - began < 2.0
                assert await under_way == 200
                await said("limits at 1/1")
                await asyncio.to_thread(redis.start if how == "kill" else redis.resume)
                await said("ok")
                assert await buy() == 200
                assert upstream.count == 8
            assert upstream.problems == []


FULL = ("CONFIG SET maxmemory-policy noeviction", "CONFIG SET maxmemory 1"), ("CONFIG SET maxmemory 0",)
A_REPLICA = ("REPLICAOF 127.0.0.1 1",), ("REPLICAOF NO ONE",)


@pytest.mark.parametrize(("begin", "end"), [FULL, A_REPLICA], ids=["full", "a replica"])
async def test_i11_a_redis_that_takes_no_writes(tmp_path: Path, begin: Sequence[str], end: Sequence[str]) -> None:
    """It answers, and refuses: that is told like any other loss, and no picture fails for it."""
    async with over_a_redis(tmp_path) as it:
        assert await it.buy() == 200
        it.tell(*begin)
        assert [await it.buy() for _ in range(3)] == [200] * 3
        await it.said("limits at 1/1")
        assert await it.buy() == 200
        it.tell(*end)
        await it.said("ok")
        assert await it.buy() == 200


@pytest.mark.parametrize("command", ["FLUSHALL", "SCRIPT FLUSH"])
async def test_i11_a_redis_that_has_forgotten(tmp_path: Path, command: str) -> None:
    async with over_a_redis(tmp_path) as it:
        assert await it.buy() == 200
        it.tell(command)
        assert [await it.buy() for _ in range(3)] == [200] * 3
        assert (await it.shared()).startswith("ok")


@dataclass(slots=True, kw_only=True)
class OverRedis:
    """A gateway that shares its limits through a Redis."""

    gateway: RunningGateway
    client: httpx2.AsyncClient
    redis: RedisServer

    async def buy(self) -> int:
        return (await self.client.post(f"{self.gateway.url}/v1/images/generations", json=GENERATION)).status_code

    async def shared(self) -> str:
        return str((await self.client.get(f"{self.gateway.url}/readyz")).json()["shared"])

    async def said(self, word: str) -> None:
        async with asyncio.timeout(10):
            while not (await self.shared()).startswith(word):  # noqa: ASYNC110 - behind a socket
                await asyncio.sleep(0.05)

    def tell(self, *commands: str) -> None:
        """Say something to the server itself, as its operator does."""
        for command in commands:
            with socket.socket(socket.AF_UNIX) as line:
                line.settimeout(5)
                line.connect(str(self.redis.socket))
                line.sendall(command.encode() + b"\r\n")
                assert line.recv(100) == b"+OK\r\n"


@asynccontextmanager
async def over_a_redis(directory: Path) -> AsyncIterator[OverRedis]:
    with redis_server() as redis:
        async with FakeUpstream(key="sk-A", default=reply(200, image_answer())) as upstream:
            routes = yaml.safe_load(routes_file({"A": upstream.url}, A={"limits": {"rpm": 600}}))
            routes["storage"] = {"shared": redis.url}
            async with (
                running_gateway(yaml.safe_dump(routes), directory) as gateway,
                httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as client,
            ):
                it = OverRedis(gateway=gateway, client=client, redis=redis)
                await it.said("ok")
                yield it
            assert upstream.problems == []


class Pair:
    """Two servers over one ledger and one Redis, whose line can be made slow; and a key."""

    def __init__(self, servers: Sequence[RunningGateway], client: httpx2.AsyncClient) -> None:
        self.servers = servers
        self._client = client
        self._shown: dict[str, str] = {}

    async def key(self, **order: object) -> None:
        """Make a key, and wait until both servers ask for one."""
        made = await self._client.post(f"{self.servers[0].url}/api/keys", json={"name": "app", **order})
        self._shown = {"authorization": f"Bearer {made.json()['key']}"}
        for server in self.servers:
            async with asyncio.timeout(5):
                while (await self._client.get(f"{server.url}/v1/models")).status_code != 401:  # noqa: ASYNC110
                    await asyncio.sleep(0.02)

    async def buy(self, at: int) -> tuple[int, float]:
        """Buy one picture; the status and how long it took."""
        began = time.monotonic()
        where = f"{self.servers[at].url}/v1/images/generations"
        answer = await self._client.post(where, json=GENERATION, headers=self._shown)
        return answer.status_code, time.monotonic() - began

    async def said(self, word: str) -> None:
        """Wait until both servers say how Redis stands."""
        for server in self.servers:
            async with asyncio.timeout(10):
                while not str((await self.ready(server))["shared"]).startswith(word):  # noqa: ASYNC110 - behind a socket
                    await asyncio.sleep(0.05)

    async def know_each_other(self) -> None:
        """Wait until both servers know that they are two."""
        for server in self.servers:
            async with asyncio.timeout(10):
                while "waybill_replicas 2.0" not in (await self._client.get(f"{server.url}/metrics")).text:  # noqa: ASYNC110
                    await asyncio.sleep(0.05)

    async def ready(self, server: RunningGateway) -> dict[str, object]:
        return dict((await self._client.get(f"{server.url}/readyz")).json())

    async def up(self) -> list[bool]:
        """What the metrics say of it."""
        texts = [(await self._client.get(f"{server.url}/metrics")).text for server in self.servers]
        return ["waybill_shared_up 1.0" in text for text in texts]

    async def told(self, name: str, times: list[int]) -> None:
        """Wait until an event stands so many times in each log, which a thread writes."""
        async with asyncio.timeout(5):
            while self.events(name) != times:  # noqa: ASYNC110 - behind a pipe
                await asyncio.sleep(0.02)

    def events(self, name: str) -> list[int]:
        return [sum(one.get("event") == name for one in server.events()) for server in self.servers]


@asynccontextmanager
async def pair(directory: Path, database: str, line: SlowLine) -> AsyncIterator[Pair]:
    async with FakeUpstream(key="sk-A", default=reply(200, image_answer())) as upstream, AsyncExitStack() as running:
        routes = yaml.safe_load(routes_file({"A": upstream.url}))
        routes["storage"] = {"database": database, "shared": f"unix://{line.path}"}
        servers = [
            await running.enter_async_context(running_gateway(yaml.safe_dump(routes), directory / name))
            for name in ("one", "two")
        ]
        client = await running.enter_async_context(httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS))
        both = Pair(servers, client)
        await both.know_each_other()
        yield both


@pytest.mark.parametrize("delay_s", [0.05, 1.0])
async def test_a_redis_that_is_slow_holds_nothing_up(tmp_path: Path, postgres: Postgres, delay_s: float) -> None:
    with redis_server() as redis, slow_line(redis.socket) as line:
        async with pair(tmp_path, postgres.new_database(), line) as both:
            await both.said("ok")
            await both.key(rpm=8)
            assert [(await both.buy(at))[0] for at in (0, 1)] == [200, 200]
            line.delay_s = delay_s  # there and back
            seen = [await both.buy(at) for _ in range(10) for at in (0, 1)]
            assert Counter(status for status, _ in seen) == {200: 8, 429: 12}  # half of the rate at each
            assert max(took_s for _, took_s in seen) < 1.0
            await both.said("limits at 1/2")
            assert await both.up() == [False, False]
            await asyncio.sleep(1.5)  # it stays slow, and is not taken for well in between
            assert (both.events("shared.lost"), both.events("shared.recovered")) == ([1, 1], [0, 0])
            line.delay_s = 0.0
            await both.said("ok")
            assert both.events("shared.recovered") == [1, 1]
            assert await both.up() == [True, True]


async def test_a_redis_that_is_not_near_is_no_trouble(tmp_path: Path, postgres: Postgres) -> None:
    with redis_server() as redis, slow_line(redis.socket) as line:
        line.delay_s = 0.01
        async with pair(tmp_path, postgres.new_database(), line) as both:
            await both.said("ok")
            await both.key(rpm=8)
            seen = [await both.buy(at) for _ in range(6) for at in (0, 1)]
            assert Counter(status for status, _ in seen) == {200: 8, 429: 4}
            assert both.events("shared.lost") == [0, 0]
