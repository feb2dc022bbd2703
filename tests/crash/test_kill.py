"""kill -9, at chosen and at random moments: no call that reached an upstream is missing from the ledger.

Every request asks for a model of its own, so that what an upstream was sent can be found in the ledger by name. The
upstreams' own counts are the truth about money.
"""

import asyncio
import json
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest
import yaml

from gateway.ports import LogQuery
from gateway.stores.reader import AttemptRow, LogRow, open_reader
from gateway.stores.schema import AttemptState, RequestState
from tests.fakes.answers import image_answer
from tests.fakes.script import Script, hang, reply, stall
from tests.fakes.server import ServerProcess, run_program, server_process
from tests.fakes.upstream import FakeUpstream

MODELS = 300
SEED = 20261120
RANDOM_ROUNDS = 6
CLIENTS = 8
OVERLOADED = reply(503, {"error": {"message": "overloaded", "type": "server_error", "code": None, "param": None}})
PICTURE = reply(200, image_answer())


def routes_file(a: FakeUpstream, b: FakeUpstream, models: int) -> str:
    names = [f"m{number}" for number in range(models)]
    channels = {
        name: {
            "owner": f"owner-{name}",
            "kind": "direct",
            "base_url": upstream.url,
            "api_key": upstream.key,
            "rows": {model: {"model": f"{name}-{model}", "serves": ["images/generations"]} for model in names},
        }
        for name, upstream in (("A", a), ("B", b))
    }
    return yaml.safe_dump(
        {"version": 1, "channels": channels, "routes": {name: {"targets": ["A", "B"]} for name in names}}
    )


@dataclass
class Story:
    """Two upstreams, one data directory, and what clients were told over all rounds."""

    a: FakeUpstream
    b: FakeUpstream
    directory: Path
    delivered: set[str] = field(default_factory=set)
    known: int = 2  # models of the routes file
    models: Iterator[str] = field(default_factory=lambda: (f"m{number}" for number in range(MODELS)))

    @asynccontextmanager
    async def server(self) -> AsyncIterator[ServerProcess]:
        async with server_process(routes_file(self.a, self.b, self.known), self.directory) as server:
            yield server

    async def ask(self, server: ServerProcess, client: httpx2.AsyncClient) -> None:
        """Ask for one picture of the next model; a server that dies meanwhile is no error."""
        model = next(self.models, None)
        if model is None:  # a fast machine: nothing more to ask
            await asyncio.sleep(0.02)
            return
        with suppress(httpx2.TransportError):
            body = {"model": model, "prompt": "a lighthouse"}
            answer = await client.post(f"{server.url}/v1/images/generations", json=body)
            if answer.status_code == 200 and answer.json()["data"]:
                self.delivered.add(model)

    def bought(self) -> Counter[str]:
        """Count what the upstreams were sent, by the model on the wire."""
        return Counter(json.loads(seen.body)["model"] for seen in (*self.a.requests, *self.b.requests))

    def ledger(self) -> list[LogRow]:
        return open_reader(f"sqlite:///{self.directory}/data/waybill.db").page(LogQuery(limit=10_000))


@pytest.fixture
async def story(tmp_path: Path) -> AsyncIterator[Story]:
    async with FakeUpstream(default=PICTURE, key="sk-A") as a, FakeUpstream(default=PICTURE, key="sk-B") as b:
        yield Story(a=a, b=b, directory=tmp_path / "house")
        assert a.problems + b.problems == []


async def killed(story: Story, moment: Callable[[ServerProcess], Awaitable[None]], clients: int) -> None:
    """Start the server on the same data, let clients ask without pause, kill it at the moment."""
    async with (
        story.server() as server,
        httpx2.AsyncClient(timeout=20, trust_env=False, limits=httpx2.Limits(max_connections=clients)) as client,
    ):

        async def ask_on() -> None:
            while server.process.returncode is None:
                await story.ask(server, client)
                if clients == 1:
                    return

        asking = asyncio.gather(*(ask_on() for _ in range(clients)))
        await moment(server)
        await server.kill()
        await asking


def check(story: Story) -> list[LogRow]:
    """Hold the ledger, as the next start left it, against what the upstreams saw and the clients were told."""
    rows = story.ledger()
    attempts: dict[str, AttemptRow] = {tried.sent_model: tried for row in rows for tried in row.attempts}
    assert sum(len(row.attempts) for row in rows) == len(attempts)
    bought = story.bought()
    assert set(bought.values()) <= {1}, "something was bought twice"
    assert set(bought) <= set(attempts), "a call that was sent is missing"
    states = {tried.state for tried in attempts.values()}
    assert states <= {AttemptState.ENDED, AttemptState.INTERRUPTED}
    for tried in attempts.values():
        if tried.state is AttemptState.INTERRUPTED:
            assert tried.outcome == "unknown"
    for row in rows:
        assert row.state in {RequestState.DONE, RequestState.INTERRUPTED}
        assert row.asked_model is not None
        if row.asked_model in story.delivered:
            assert row.state is RequestState.DONE
            assert row.attempts[-1].outcome == "delivered"
        if row.state is RequestState.INTERRUPTED:
            assert row.attempts[-1].state is AttemptState.INTERRUPTED
    assert story.delivered <= {row.asked_model for row in rows}
    return rows


def once_sent(upstream: FakeUpstream, pause_s: float = 0.0) -> Callable[[ServerProcess], Awaitable[None]]:
    """Give the moment when an upstream has taken its next request (and perhaps begun to answer)."""
    expected = upstream.count + 1

    async def moment(_server: ServerProcess) -> None:
        await asyncio.wait_for(upstream.counted(expected), 20)
        await asyncio.sleep(pause_s)

    return moment


async def once_answered(story: Story) -> None:
    async with asyncio.timeout(20):
        while not story.delivered:  # noqa: ASYNC110 - what is waited for happens in other processes
            await asyncio.sleep(0.001)


SCRIPTED: dict[str, tuple[list[Script], list[Script], list[str]]] = {
    # name: what A plays, what B plays, what the attempts are after the next start
    "before the upstream answers": ([hang()], [], ["interrupted"]),
    "in the middle of the answer": ([stall()], [], ["interrupted"]),
    "at the second target": ([OVERLOADED], [hang()], ["ended", "interrupted"]),
}


@pytest.mark.parametrize("name", SCRIPTED)
async def test_killed_once_it_was_sent(story: Story, name: str) -> None:
    at_a, at_b, states = SCRIPTED[name]
    story.a.play(*at_a)
    story.b.play(*at_b)
    await killed(story, once_sent(story.b if at_b else story.a, 0.1), clients=1)
    async with story.server() as server:
        assert server.ready["interrupted_requests"] == 1
        [row] = check(story)
        listed = [json.loads(line) for line in (await run_program(story.directory, "logs", "--json")).splitlines()]
    assert row.state is RequestState.INTERRUPTED
    # The first attempt's own end is settled with its request, so an interrupted request knows of none.
    assert [tried.state for tried in row.attempts] == [AttemptState.INTERRUPTED] * len(states)
    assert [tried.outcome for tried in row.attempts] == ["unknown"] * len(states)
    assert [(one["request_id"], one["state"]) for one in listed] == [(row.request_id, "interrupted")]
    assert (story.a.count, story.b.count) == (1, len(at_b))


async def test_killed_right_after_the_client_had_its_picture(story: Story) -> None:
    await killed(story, lambda _: once_answered(story), clients=1)
    async with story.server() as server:
        assert server.ready["interrupted_requests"] == 0
        [row] = check(story)
    assert [(row.state, tried.outcome) for tried in row.attempts] == [(RequestState.DONE, "delivered")]


async def test_killed_while_a_body_is_coming_in_nothing_was_bought(story: Story) -> None:
    async with story.server() as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(
            b"POST /v1/images/generations HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\n"
            b'content-length: 1000\r\n\r\n{"model": "m0", "prompt": "'
        )
        await writer.drain()
        await asyncio.sleep(0.05)
        await server.kill()
        writer.close()
    async with story.server() as server:
        assert server.ready["interrupted_requests"] == 0
        assert check(story) == []
    assert story.a.count == 0


async def test_killed_at_random_moments_under_load(story: Story) -> None:
    dice = random.Random(SEED)
    story.known = MODELS
    slow = [reply(200, image_answer(), delay_s=dice.uniform(0.01, 0.15)) for _ in range(60)]
    mixed: list[Script] = [dice.choice([PICTURE, OVERLOADED, *slow]) for _ in range(MODELS)]
    story.a.play(*mixed)
    interrupted = 0
    for _ in range(RANDOM_ROUNDS):
        after_s = dice.uniform(0.03, 0.2)

        async def moment(server: ServerProcess, after_s: float = after_s) -> None:
            nonlocal interrupted
            interrupted += server.ready["interrupted_requests"]  # of the round before
            await asyncio.sleep(after_s)

        await killed(story, moment, CLIENTS)

    async with story.server() as server:
        interrupted += server.ready["interrupted_requests"]
        rows = check(story)
    assert story.delivered
    assert interrupted == sum(row.state is RequestState.INTERRUPTED for row in rows) > 0
    listed = await run_program(story.directory, "logs", "--json", "--limit", "1000")
    assert {json.loads(line)["request_id"] for line in listed.splitlines()} == {row.request_id for row in rows}
