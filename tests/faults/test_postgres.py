"""A ledger on PostgreSQL that is killed, stopped or slow while pictures are bought: nothing is bought that cannot be
recorded, what was bought is delivered, and all of it is settled afterwards. Who is refused waits once, not in turns."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import httpx2
import pytest
import yaml

from gateway.clock import SystemClock
from gateway.core.keys import NewKey, key_text
from gateway.ports import LEDGER_WAIT_S, LogQuery
from gateway.stores.keys_sql import open_key_desk
from gateway.stores.ledger_sql import upgrade_ledger
from gateway.stores.reader import LogRow, open_reader
from gateway.stores.schema import RequestState
from tests.fakes.answers import image_answer
from tests.fakes.gateway import NO_TLS, RunningGateway, running_gateway
from tests.fakes.pair import GENERATION, routes_file
from tests.fakes.script import reply
from tests.fakes.upstream import FakeUpstream
from tests.servers.postgres import Postgres, postgres_server
from tests.servers.slow_line import slow_line

SLACK_S = 1.0  # of a busy machine
IN_TIME_S = LEDGER_WAIT_S + SLACK_S
KEYS = 3
TURN = {"model": "chat", "input": "and then?", "previous_response_id": "resp_68af4030592c81938ec0a5fbab4a3e9f05"}


@pytest.fixture
def own() -> Iterator[Postgres]:
    """A server of the test's own: it will not end well."""
    with postgres_server() as made:
        yield made


class Shop:
    """A gateway that buys from one upstream and keeps its books on a server."""

    def __init__(self, gateway: RunningGateway, upstream: FakeUpstream, client: httpx2.AsyncClient, url: str) -> None:
        self.gateway = gateway
        self.upstream = upstream
        self._client = client
        self._url = url

    async def buy(self, key: str = "", **headers: str) -> httpx2.Response:
        return await self.post("images/generations", GENERATION, key, **headers)

    async def post(self, path: str, body: Mapping[str, object], key: str, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        shown = {"authorization": f"Bearer {key}"} if key else {}
        return await self._client.post(f"{self.gateway.url}/v1/{path}", json=body, headers={**named, **shown})

    def rows(self) -> list[LogRow]:
        return open_reader(self._url).page(LogQuery(limit=100))

    async def refused_in_time(self) -> None:
        """Ask while the ledger is out of reach."""
        before, began = self.upstream.count, time.monotonic()
        answer = await self.buy()
        assert time.monotonic() - began < IN_TIME_S
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
        assert self.upstream.count == before

    async def recovers(self) -> None:
        """Everything that was bought is settled, and new work is taken."""
        async with asyncio.timeout(15):
            while (await self.buy()).status_code != 200:  # noqa: ASYNC110 - the ledger comes back by itself
                await asyncio.sleep(0.1)
            while any(row.state is RequestState.OPEN for row in await asyncio.to_thread(self.rows)):  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        sent = [tried for row in self.rows() for tried in row.attempts if tried.outcome != "not_sent"]
        assert {tried.outcome for tried in sent} == {"delivered"}
        assert len(sent) == self.upstream.count


def make_keys(url: str) -> list[str]:
    """Make keys on an empty ledger."""
    upgrade_ledger(url)
    desk = open_key_desk(url)
    texts = [key_text(bytes([number]) * 32) for number in range(KEYS)]
    for number, text in enumerate(texts):
        desk.create(f"key_{number:032x}", text, NewKey(name="app"), SystemClock().now())
    return texts


async def timed(asking: Awaitable[httpx2.Response]) -> float:
    """Wait for a refusal; how long it took."""
    began = time.monotonic()
    answer = await asking
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "ledger_unavailable")
    assert answer.headers["x-should-retry"] == "true"
    return time.monotonic() - began


@asynccontextmanager
async def shop(directory: Path, url: str, direct_url: str) -> AsyncIterator[Shop]:
    async with FakeUpstream(key="sk-A", default=reply(200, image_answer())) as upstream:
        routes = yaml.safe_load(routes_file({"A": upstream.url}))
        routes["storage"] = {"database": url}
        async with (
            running_gateway(yaml.safe_dump(routes), directory) as gateway,
            httpx2.AsyncClient(timeout=30, trust_env=False, verify=NO_TLS) as client,
        ):
            yield Shop(gateway, upstream, client, direct_url)
        assert upstream.problems == []


@pytest.mark.parametrize("how", ["kill", "pause"])
async def test_a_server_that_is_gone_in_the_middle(own: Postgres, tmp_path: Path, how: str) -> None:
    url = own.new_database()
    async with shop(tmp_path, url, url) as house:
        assert (await house.buy()).status_code == 200
        house.upstream.play(reply(200, image_answer(), delay_s=1.0))
        under_way = asyncio.ensure_future(house.buy())
        await house.upstream.counted(2)
        getattr(own, how)()
        await house.refused_in_time()
        answer = await under_way
        assert (answer.status_code, answer.content) == (200, image_answer())
        await asyncio.to_thread(own.start if how == "kill" else own.resume)
        await house.recovers()


async def test_a_server_that_is_slow(own: Postgres, tmp_path: Path) -> None:
    direct = own.new_database()
    with slow_line(own.socket) as line:
        name = direct.partition("@/")[2].partition("?")[0]
        async with shop(tmp_path, own.url(name, through=line.directory), direct) as house:
            line.delay_s = 0.02
            assert (await house.buy()).status_code == 200
            line.delay_s = 2.0
            await house.refused_in_time()
            line.delay_s = 0.0
            await house.recovers()


async def test_whoever_is_refused_waits_for_a_stopped_server_once(own: Postgres, tmp_path: Path) -> None:
    """The key, what is referred to, the Idempotency-Key, the begin, the record: all of it in one time-out."""
    url = own.new_database()
    known, unknown, late = await asyncio.to_thread(make_keys, url)
    async with shop(tmp_path, url, url) as house:
        house.upstream.play(reply(200, image_answer()), reply(200, image_answer(), delay_s=4.0))
        assert (await house.buy(known)).status_code == 200
        under_way = asyncio.ensure_future(house.buy(known, idempotency_key="under way"))
        await house.upstream.counted(2)
        own.pause()
        at_once = [
            house.buy(known),
            house.buy(unknown),
            house.buy(known, idempotency_key="new"),
            *(house.post("responses", {**TURN, "metadata": {"n": str(n)}}, known) for n in range(12)),
        ]
        waits = await asyncio.gather(*(timed(asked) for asked in at_once), timed(later(house.buy(late))))
        assert max(waits) < IN_TIME_S
        answer = await under_way  # no thread that it needs waits for the server
        assert (answer.status_code, answer.content) == (200, image_answer())
        assert house.upstream.count == 2
        own.resume()
        while (await house.buy(known)).status_code != 200:  # noqa: ASYNC110 - the ledger comes back by itself
            await asyncio.sleep(0.1)


async def later(asked: Awaitable[httpx2.Response]) -> httpx2.Response:
    """Ask once nothing that was read before the stop is believed any more."""
    await asyncio.sleep(1.5)
    return await asked
