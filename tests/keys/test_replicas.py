"""Two gateways on one PostgreSQL: one balance, one truth about keys."""

import asyncio
import time
from collections import Counter
from pathlib import Path

import httpx2
import yaml

from tests.fakes.answers import image_answer
from tests.fakes.gateway import NO_TLS, running_gateway
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.keys.house import BY_PICTURE, GENERATION, routes_of
from tests.servers.postgres import Postgres


async def test_two_hundred_at_once_through_two_replicas_and_a_key_ended_on_one(
    tmp_path: Path, postgres: Postgres
) -> None:
    async with FakeUpstream(key="sk-A") as upstream:
        upstream.play(*[reply(200, image_answer(), delay_s=0.2)] * 10)
        document = yaml.safe_load(routes_of(upstream, {"charge": BY_PICTURE}))
        document["storage"] = {"database": postgres.new_database()}
        routes = yaml.safe_dump(document)
        limits = httpx2.Limits(max_connections=None)
        async with (
            running_gateway(routes, tmp_path / "one") as one,
            running_gateway(routes, tmp_path / "two") as two,
            httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS, limits=limits) as client,
        ):
            made = (await client.post(f"{one.url}/api/keys", json={"name": "app", "credits": 10})).json()
            shown = {"authorization": f"Bearer {made['key']}"}

            async def status(url: str) -> int:
                return (await client.get(f"{url}/v1/models", headers=shown)).status_code

            while (await client.get(f"{two.url}/v1/models")).status_code != 401:  # noqa: ASYNC110 - behind a socket
                await asyncio.sleep(0.02)
            answers = await asyncio.gather(
                *(
                    client.post(f"{(one, two)[at % 2].url}/v1/images/generations", json=GENERATION, headers=shown)
                    for at in range(200)
                )
            )
            assert Counter(answer.status_code for answer in answers) == {200: 10, 402: 190}
            assert upstream.count == 10
            [key] = (await client.get(f"{two.url}/api/keys")).json()["data"]
            assert (key["credits"], key["credits_held"]) == (0, 0)
            assert await status(two.url) == 200
            assert (await client.delete(f"{one.url}/api/keys/{made['id']}")).status_code == 200
            ended = time.monotonic()
            while await status(two.url) != 401:
                assert time.monotonic() - ended < 1.0
                await asyncio.sleep(0.02)
