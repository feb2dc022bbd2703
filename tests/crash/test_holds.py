"""kill -9 with money held: at the next start credits are back with their key, and money that may be owed is counted."""

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx2

from tests.cli.program import Program
from tests.fakes.answers import image_answer
from tests.fakes.script import hang, reply
from tests.fakes.server import server_process
from tests.fakes.upstream import FakeUpstream
from tests.keys.house import BY_PICTURE, FLAT, GENERATION, routes_of

CREDITS, BUDGET = 10, "4USD/30d"


def waybill(directory: Path, *arguments: str) -> Any:
    ran = Program(directory=directory).run("keys", *arguments, "--json", "--data-dir", str(directory / "data"))
    assert ran.code == 0, ran.err
    return json.loads(ran.out)


async def test_no_hold_outlives_its_process(tmp_path: Path) -> None:
    async with FakeUpstream(key="sk-A") as upstream:
        routes = routes_of(upstream, {"charge": BY_PICTURE}, FLAT)
        (tmp_path / "routes.yaml").write_text(routes, "utf-8")
        order = ("create", "--name", "app", "--credits", str(CREDITS), "--budget", BUDGET)
        made = await asyncio.to_thread(waybill, tmp_path, *order)
        shown = {"authorization": f"Bearer {made['key']}"}
        async with (
            httpx2.AsyncClient(timeout=30, trust_env=False) as client,
            server_process(routes, tmp_path, "--data-dir", str(tmp_path / "data")) as server,
        ):
            upstream.play(reply(200, image_answer()), hang(), hang())
            url = f"{server.url}/v1/images/generations"
            assert (await client.post(url, json=GENERATION, headers=shown)).status_code == 200
            waiting = [asyncio.ensure_future(client.post(url, json=GENERATION, headers=shown)) for _ in range(2)]
            await upstream.counted(3)
            [key] = (await asyncio.to_thread(waybill, tmp_path, "list"))["data"]
            assert (key["credits"], key["credits_held"]) == (CREDITS - 3, 2)
            assert key["budget"]["reserved_micro"] == 1_000_000
            await server.kill()
            await asyncio.gather(*waiting, return_exceptions=True)
        async with server_process(routes, tmp_path, "--data-dir", str(tmp_path / "data")):
            [key] = (await asyncio.to_thread(waybill, tmp_path, "list"))["data"]
        assert (key["credits"], key["credits_held"]) == (CREDITS - 1, 0)
        budget = key["budget"]
        assert (budget["spent_micro"], budget["reserved_micro"]) == (1_500_000, 0)
        assert upstream.count == 3
