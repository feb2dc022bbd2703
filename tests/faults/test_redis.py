"""A store replicas share that is killed or stopped while pictures are bought: nothing waits, and what holds is said."""

import asyncio
import time
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.fakes.answers import image_answer
from tests.fakes.gateway import NO_TLS, running_gateway
from tests.fakes.pair import GENERATION, routes_file
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.servers.redis import redis_server


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
