"""``channels`` against a running gateway: how channels stand, and their hand brakes."""

import asyncio
import json
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path

from tests.cli.program import ROUTES, Program, Ran
from tests.fakes import answers, script
from tests.fakes.gateway import running_gateway
from tests.fakes.pair import running_pair


async def test_brakes_are_set_shown_and_taken_off(tmp_path: Path) -> None:
    program = Program(directory=tmp_path)
    async with running_pair(tmp_path / "gateway", A={"limits": {"rpm": 60}}) as pair:
        pair.a.play(script.reply(429, {"error": {"message": "slow"}}, headers={"retry-after": "300"}))
        pair.b.play(script.reply(200, answers.image_answer()))
        await pair.generate()

        async def run(*arguments: str) -> Ran:
            return await asyncio.to_thread(program.run, "channels", *arguments, WAYBILL_URL=pair.gateway.url)

        shown = await run("list")
        assert (shown.code, shown.err) == (0, "")
        lines = [" ".join(line.split()) for line in shown.out.splitlines()]
        a = next(place for place, line in enumerate(lines) if line.startswith("A "))
        assert lines[a] == "A on 0 of 64 chat well"
        assert lines[a + 1].startswith("pic its upstream said to wait, for 2")
        assert lines[a + 2 :] == ["B on 0 of 64 chat well", "pic well"]

        routes = str(tmp_path / "gateway" / "routes.yaml")
        wanted = ("explain", "--model", "pic", "--config", routes, "--url", pair.gateway.url)
        live = await asyncio.to_thread(program.run, *wanted)
        assert "A/pic its upstream said to wait" in " ".join(live.out.split())
        plan = json.loads((await asyncio.to_thread(program.run, *wanted, "--json")).out)
        assert plan["health"]["B/pic"] == "well"

        off = await run("off", "A", "--until", "2h", "--reason", "invoice")
        assert (off.code, re.sub("[0-9]", "0", off.out)) == (0, "A is off until 0000-00-00 00:00 UTC\n")
        drained = await run("drain", "B", "--json")
        assert json.loads(drained.out) == {"channel": "B", "state": "drained", "until": None, "reason": None}

        document = json.loads((await run("list", "--json")).out)
        first, second = document["data"]
        assert (first["state"], first["reason"], first["limits"]) == ("off", "invoice", {"rpm": 60, "ipm": None})
        until = datetime.fromisoformat(first["until"])
        assert timedelta(hours=1, minutes=59) < until - datetime.now(UTC) <= timedelta(hours=2)
        assert [row["resting"] for row in first["rows"]] == [None, "rate_limited"]
        assert second["state"] == "drained"
        braked = await asyncio.to_thread(program.run, *wanted, "--json")
        reasons = {one["target"]: one["reason"] for one in json.loads(braked.out)["excluded"]}
        assert (braked.code, reasons) == (1, {"A/pic": "channel_off", "B/pic": "channel_drained"})
        assert "invoice" in (await run("list")).out

        on = await run("on", "A")
        assert (on.code, on.out) == (0, "A is on\n")
        again = json.loads((await run("list", "--json")).out)["data"][0]
        assert (again["state"], [row["resting"] for row in again["rows"]]) == ("on", [None, None])

        nobody = await run("off", "Z")
        assert (nobody.code, nobody.out) == (1, "")
        assert nobody.err.startswith("waybill: the gateway answered 404: ")
        past = await run("off", "A", "--until", "2020-01-01T00:00:00Z")
        assert past.code == 1
        assert "is over" in past.err


async def test_a_brake_is_shown_beside_what_else_is_wrong(tmp_path: Path) -> None:
    program = Program(directory=tmp_path)
    async with running_gateway(ROUTES, tmp_path / "gateway") as gateway:

        async def run(*arguments: str, **env: str) -> list[str]:
            ran = await asyncio.to_thread(program.run, "channels", *arguments, WAYBILL_URL=gateway.url, **env)
            assert (ran.code, ran.err) == (0, "")
            return [" ".join(line.split()) for line in ran.out.splitlines()]

        assert "openai OPENAI_API_KEY is not set 0 of 64 gpt-image-2 not ready" in await run("list")
        await run("drain", "openai", "--reason", "new key")
        lines = await run("list")
        place = lines.index("openai drained 0 of 64 gpt-image-2 not ready")
        assert lines[place + 1 : place + 4] == ["new key", "OPENAI_API_KEY is not set", "gpt-5.5 not ready"]
        narrow = await run("list", COLUMNS="80")
        assert max(map(len, narrow)) <= 80
        assert {"OPENAI_API_KEY is not set", "new key", "0 of 64 in flight"} <= set(narrow)
        assert "sandbox on gpt-image-2 well" in narrow


def test_nobody_there(bare: Program) -> None:
    ran = bare.run("channels", "list", "--url", "http://127.0.0.1:9")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err.startswith("waybill: the gateway cannot be reached: ")
