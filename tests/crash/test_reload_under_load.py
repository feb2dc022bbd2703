"""Reloads of a running server under load: thirty bad files change nothing; a channel in use may go away."""

import asyncio
import signal
from pathlib import Path
from typing import Any

import httpx2

from tests.fakes.answers import image_answer
from tests.fakes.pair import GENERATION, routes_file
from tests.fakes.script import reply
from tests.fakes.server import ServerProcess, server_process
from tests.fakes.upstream import FakeUpstream

BAD = ("version: 9\n", "a: [", "", "version: 1\nchannels: {}\nroutes: {pic: {targets: [nobody]}}\n", "\x00", "- 1\n")
ROUNDS = 30
CLIENTS = 6


def put(server: ServerProcess, text: str) -> None:
    """Replace the file as editors do: whole."""
    fresh = server.directory / "routes.new"
    fresh.write_text(text, "utf-8")
    fresh.replace(server.directory / "routes.yaml")


async def config_of(server: ServerProcess, client: httpx2.AsyncClient) -> dict[str, Any]:
    answer = await client.get(f"{server.url}/api/config")
    assert answer.status_code == 200
    document: dict[str, Any] = answer.json()
    return document


async def reload_with(server: ServerProcess, client: httpx2.AsyncClient, number: int) -> None:
    """Have a bad file read in one of the ways there are, and wait until it was."""
    if number % 2:
        answer = await client.post(f"{server.url}/api/config/reload")
        assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
        assert answer.json()["mistakes"]
        return
    before = (await config_of(server, client))["failed_reloads"]
    server.signal(signal.SIGHUP)
    async with asyncio.timeout(10):
        while (await config_of(server, client))["failed_reloads"] == before:  # noqa: ASYNC110 - in another process
            await asyncio.sleep(0.02)


async def test_thirty_bad_files_under_load_change_nothing(tmp_path: Path) -> None:
    upstream = FakeUpstream(default=reply(200, image_answer()), key="sk-A")
    async with upstream:
        routes = routes_file({"A": upstream.url})
        async with server_process(routes, tmp_path) as server, httpx2.AsyncClient(trust_env=False) as client:
            version, over = server.ready["config_version"], asyncio.Event()
            statuses: list[tuple[int, str]] = []

            async def load() -> None:
                while not over.is_set():
                    answer = await client.post(f"{server.url}/v1/images/generations", json=GENERATION)
                    statuses.append((answer.status_code, answer.headers["x-route-channel"]))

            async with asyncio.TaskGroup() as group:
                for _ in range(CLIENTS):
                    group.create_task(load())
                for number in range(ROUNDS):
                    put(server, BAD[number % len(BAD)])
                    await reload_with(server, client, number)
                over.set()
            config = await config_of(server, client)
            ready = await client.get(f"{server.url}/readyz")
            figures = (await client.get(f"{server.url}/metrics")).text
    assert len(statuses) > ROUNDS
    assert set(statuses) == {(200, "A")}
    assert (config["version"], config["reloads"]) == (version, 0)
    assert config["failed_reloads"] >= ROUNDS
    assert config["last_error"]["mistakes"]
    assert (ready.status_code, ready.json()["config"]["state"]) == (200, "reload_failed")
    assert "waybill_config_last_reload_successful 0.0" in figures
    finished = [line for line in server.events() if line["event"] == "request.finished" and "attempts" in line]
    assert {line["config_version"] for line in finished} == {version}
    assert len(finished) == len(statuses)
    failed = [line for line in server.events() if line["event"] == "config.reload_failed"]
    assert {line["why"] for line in failed} >= {"request", "signal"}


async def test_a_channel_that_is_in_use_may_go_away(tmp_path: Path) -> None:
    slow = reply(200, image_answer(), delay_s=1.0)
    async with (
        FakeUpstream(default=slow, key="sk-A") as a,
        FakeUpstream(default=reply(200, image_answer()), key="sk-B") as b,
    ):
        async with (
            server_process(routes_file({"A": a.url}), tmp_path) as server,
            httpx2.AsyncClient(trust_env=False, timeout=20) as client,
        ):
            begun = [
                asyncio.ensure_future(client.post(f"{server.url}/v1/images/generations", json=GENERATION))
                for _ in range(5)
            ]
            await a.counted(5)
            put(server, routes_file({"B": b.url}))
            taken = await client.post(f"{server.url}/api/config/reload")
            assert (taken.status_code, taken.json()["reloads"]) == (200, 1)
            after = await client.post(f"{server.url}/v1/images/generations", json=GENERATION)
            old = await asyncio.gather(*begun)
            removed = await client.get(f"{server.url}/readyz")
        assert (a.problems, b.problems) == ([], [])
    assert {(answer.status_code, answer.headers["x-route-channel"]) for answer in old} == {(200, "A")}
    assert (after.status_code, after.headers["x-route-channel"]) == (200, "B")
    assert list(removed.json()["channels"]) == ["B"]
