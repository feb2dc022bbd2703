"""``image``: files and their waybills, from a real gateway, by the real program."""

import asyncio
import hashlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.cli.program import Program, Ran
from tests.fakes import answers, events, script
from tests.fakes.gateway import running_gateway
from tests.fakes.pair import running_pair
from tests.fakes.upstream import FakeUpstream

SANDBOX = """\
version: 1
channels:
  sandbox:
    owner: sandbox
    kind: sandbox
    rows:
      gpt-image-2: {serves: [images/generations, images/edits], price: {unit: per_request, amount: 0.04}}
routes:
  gpt-image-2: {targets: [sandbox], default_for: [images/generations, images/edits]}
"""


async def run(directory: Path, url: str, *arguments: str, **env: str) -> Ran:
    program = Program(directory=directory)
    return await asyncio.to_thread(program.run, "image", *arguments, WAYBILL_URL=url, **env)


def beside(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.with_name(f"{path.name}.waybill.json").read_text())
    return found


def files(directory: Path) -> set[str]:
    return {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}


async def test_a_picture_and_its_waybill(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    async with running_gateway(SANDBOX, tmp_path / "gateway") as gateway:
        ran = await run(work, gateway.url, "a fox", "--out", "assets/hero.png", "--size", "1536x1024", "--tag", "job=7")
        assert ran.code == 0
        assert ran.err == f"asking the default model at {gateway.url}\n"
        first, *rest = ran.out.splitlines()
        assert first.startswith("assets/hero.png  1536x1024 png, ")
        assert rest[0].startswith("gpt-image-2 by sandbox, in ")
        assert rest[1] == "cost 0.040000 USD, per request"
        hero = work / "assets" / "hero.png"
        note = beside(hero)
        assert note["sha256"] == hashlib.sha256(hero.read_bytes()).hexdigest()
        assert note["result"]["images"][0]["sha256"] == note["sha256"]
        assert (note["file"], note["request_shape"]["size"]) == ("hero.png", "1536x1024")
        assert "prompt" not in note["request_shape"]
        assert rest[2] == f"request {note['request_id']}"
        record = await gateway.record(note["request_id"])
        assert record["tags"] == {"job": "7"}
        for name in ("endpoint", "route_owner", "channel", "usage", "model_mapping", "stream"):
            assert note[name] == record[name], name
        assert note["cost"]["amount_micro"] == record["cost"]["amount_micro"] == 40_000
        assert files(work) == {"assets/hero.png", "assets/hero.png.waybill.json"}


CREDITS = SANDBOX.replace(
    "[images/generations, images/edits]}\n",
    "[images/generations, images/edits], charge: {unit: credits, per_image: 3}}\n",
)


async def test_whose_record_it_is(tmp_path: Path) -> None:
    """The gateway's own for an operator's key; for any other what the answer tells, and that says so."""
    work = tmp_path / "work"
    work.mkdir()
    async with running_gateway(CREDITS, tmp_path / "gateway") as gateway:
        opened = await run(work, gateway.url, "a fox", "-o", "open.png")
        assert opened.out.splitlines()[2] == "cost 0.040000 USD, per request"
        owner = Program(directory=tmp_path / "gateway")
        keys = {}
        for name, scopes in (("user", "use"), ("boss", "use,admin")):
            wanted = ("keys", "create", "--name", name, "--scopes", scopes, "--credits", "10", "--json")
            keys[name] = json.loads((await asyncio.to_thread(owner.run, *wanted)).out)["key"]
        await asyncio.sleep(1.1)
        shut = await run(work, gateway.url, "a fox", "-o", "shut.png")
        assert (shut.code, "(invalid_api_key)" in shut.err) == (1, True)
        user = await run(work, gateway.url, "a fox", "-o", "user.png", WAYBILL_API_KEY=keys["user"])
        boss = await run(work, gateway.url, "a fox", "-o", "boss.png", WAYBILL_API_KEY=keys["boss"])
        assert (user.code, boss.code) == (0, 0)
        assert user.out.splitlines()[2] == "cost 0.040000 USD, per request; the key was charged 3 credits"
        told, own = beside(work / "user.png"), beside(work / "boss.png")
        sources = [beside(work / "open.png")["record_source"], told["record_source"], own["record_source"]]
        assert sources == ["gateway", "headers", "gateway"]
        assert (told["credits"], own["credits"]) == (3, 3)
        assert told["result"]["images"][0]["asset_id"].startswith("ast_")
        assert own["result"]["images"][0]["asset_id"].startswith("ast_")


async def test_several_pictures_previews_and_the_prompt(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    async with running_gateway(SANDBOX, tmp_path / "gateway") as gateway:
        ran = await run(
            work, gateway.url, "a fox", "-o", "fox.webp", "-n", "2", "--previews", "seen", "--keep-prompt", "--json"
        )
        assert ran.code == 0
        document = json.loads(ran.out)
        assert [one["file"] for one in document["files"]] == ["fox-1.webp", "fox-2.webp"]
        assert {one["format"] for one in document["files"]} == {"webp"}
        assert (document["previews"], document["record"]["stream"]) == (4, True)
        assert document["record"]["model_mapping"]["served"] == "unverified"
        assert beside(work / "fox-2.webp")["request_shape"]["prompt"] == "a fox"
        assert beside(work / "fox-1.webp")["sha256"] != beside(work / "fox-2.webp")["sha256"]
        assert {f"seen/fox-preview-{number}.webp" for number in (1, 2, 3, 4)} < files(work)


async def test_an_edit_with_a_mask(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(answers.png(64, 64))
    (tmp_path / "mask.png").write_bytes(answers.png(64, 64, alpha=True))
    async with running_pair(tmp_path / "gateway") as pair:
        pair.a.play(script.reply(200, answers.image_answer()))
        ran = await run(
            tmp_path,
            pair.gateway.url,
            *("at night", "-m", "pic", "-o", "b.png", "--edit", "a.png", "--edit", "a.png", "--mask", "mask.png"),
            *("--set", "seed=7", "--quality", "high"),
        )
        assert (ran.code, pair.asked) == (0, (1, 0))
        sent = pair.a.requests[0]
        names = [(part.name, part.filename) for part in sent.parts or ()]
        assert names == [
            *[("model", None), ("prompt", None), ("quality", None), ("seed", None)],
            *[("image[]", "a.png"), ("image[]", "a.png"), ("mask", "mask.png")],
        ]
        note = beside(tmp_path / "b.png")
        assert note["endpoint"] == "images/edits"
        assert [one["width"] for one in note["request_shape"]["input_images"]] == [64, 64]


async def test_links_of_the_gateway_are_followed(tmp_path: Path) -> None:
    linked = SANDBOX.replace("images/edits]}\n", "images/edits], deliver: url}\n")
    for public in ("", "server: {public_url: 'https://pictures.invalid'}\n"):
        async with running_gateway(f"{linked}{public}", tmp_path / "gateway") as gateway:
            ran = await run(tmp_path, gateway.url, "a fox", "-o", "fox.png", "--force")
            assert ran.code == 0, ran.err
            assert "fetching 1 from the gateway's links" in ran.err
            assert (tmp_path / "fox.png").read_bytes().startswith(b"\x89PNG")


async def test_links_into_this_network_are_not(tmp_path: Path) -> None:
    async with FakeUpstream(key=None) as store, running_pair(tmp_path / "gateway") as pair:
        pair.a.play(script.reply(200, answers.url_answer(f"{store.url}/one.png", "file:///etc/passwd", "http://[x")))
        ran = await run(tmp_path, pair.gateway.url, "a fox", "-m", "pic", "-o", "fox.png", "--pin", "A")
        assert ran.code == 1
        assert "a picture could not be fetched from its link" in ran.err
        assert (store.count, store.connections) == (0, 0)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        ("a fox [fail 503]", "the gateway answered 503: "),
        ("a fox [fail policy]", "the gateway answered 400 (moderation_blocked): "),
        ("a fox [fail drop]", "the gateway answered 502 (upstream_unknown_outcome): "),
    ],
)
async def test_a_failure_is_one_sentence_and_leaves_nothing(tmp_path: Path, prompt: str, said: str) -> None:
    work = tmp_path / "work"
    work.mkdir()
    async with running_gateway(SANDBOX, tmp_path / "gateway") as gateway:
        ran = await run(work, gateway.url, prompt, "-o", "fox.png")
        assert (ran.code, ran.out) == (1, "")
        lines = ran.err.splitlines()[1:]
        assert lines[0].startswith(f"waybill: {said}")
        assert lines[1].startswith("  tried sandbox: ")
        assert lines[2].startswith("  request req_")
        told = json.loads((await run(work, gateway.url, prompt, "-o", "fox.png", "--json")).out)
        assert told["error"]["status"] >= 400
        assert told["request_id"].startswith("req_")
        assert files(work) == set()


async def test_a_stream_that_breaks_leaves_nothing(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "gateway") as pair:
        cut = script.stream(
            events.event(events.picture_event("partial_image", 0)), finished=False, ending=script.Ending.CLOSE
        )
        pair.a.play(cut)
        ran = await run(tmp_path, pair.gateway.url, "a fox", "-m", "pic", "-o", "fox.png", "--partial", "1")
        assert ran.code == 1
        assert "waybill: the stream broke (upstream_unknown_outcome): " in ran.err
        assert not (tmp_path / "fox.png").exists()


async def test_files_that_are_there_stay(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "fox.png").write_text("mine")
    (work / "cat.png.waybill.json").write_text("mine")
    async with running_gateway(SANDBOX, tmp_path / "gateway") as gateway:
        for name in ("fox.png", "cat.png"):
            ran = await run(work, gateway.url, "a fox", "-o", name)
            assert ran.code == 2
            assert "is there already: --force replaces it" in ran.err
        assert [event for event in gateway.events() if event["event"] == "request.finished"] == []
        forced = await run(work, gateway.url, "a fox", "-o", "fox.png", "--force")
        assert forced.code == 0
        assert (work / "fox.png").read_bytes().startswith(b"\x89PNG")
        other = await run(work, gateway.url, "a fox", "-o", "odd.webp", "--format", "png")
        assert other.out.endswith("odd.webp holds a png\n")


async def test_told_to_come_back_it_comes_back(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "gateway", {"max_attempts": 1}) as pair:
        slow = script.reply(429, {"error": {"message": "slow"}}, headers={"retry-after": "3"})
        pair.a.play(slow)
        pair.b.play(slow)
        assert (await pair.generate()).status_code == 429
        assert (await pair.generate()).status_code == 429
        pair.a.play(script.reply(200, answers.image_answer()))
        ran = await run(tmp_path, pair.gateway.url, "a fox", "-m", "pic", "-o", "fox.png")
        assert (ran.code, pair.asked) == (0, (2, 1))
        assert "told to come back in" in ran.err


async def test_a_picture_that_takes_longer_than_the_window_is_waited_for(tmp_path: Path) -> None:
    windowed = f"{SANDBOX}server: {{client_window: 1s}}\n"
    async with running_gateway(windowed, tmp_path / "gateway") as gateway:
        ran = await run(tmp_path, gateway.url, "a fox [delay 3s]", "-o", "fox.png")
        assert ran.code == 0, ran.err
        assert "still being made" in ran.err
        records = [event for event in gateway.events() if event["event"] == "request.finished"]
        assert sum(len(record.get("attempts", [])) for record in records if record["result"]["status"] == 200) == 1


class CuttingProxy:
    """A way to the gateway that breaks the first connection once ``cut`` is set, and no other."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.cut = asyncio.Event()
        self.connections = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        is_first = self.connections == 1
        there, back = await asyncio.open_connection("127.0.0.1", self.port)
        pumps = [asyncio.create_task(pump(reader, back)), asyncio.create_task(pump(there, writer))]
        waits = [*pumps, *([asyncio.create_task(self.cut.wait())] if is_first else [])]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        for end in (writer, back):
            end.close()


async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()


@pytest.mark.parametrize("streams", [False, True])
async def test_a_picture_whose_connection_broke_is_not_bought_twice(tmp_path: Path, streams: bool) -> None:
    async with running_pair(tmp_path / "gateway") as pair:
        picture = answers.png(64, 48)
        parts: list[bytes | float] = [events.event(events.picture_event("partial_image", 0)), 1.5]
        last = events.event(events.picture_event("completed", data=picture))
        slow = script.reply(200, answers.image_answer(), delay_s=1.5)
        pair.a.play(script.stream(*parts, last) if streams else slow)
        proxy = CuttingProxy(int(pair.gateway.url.rpartition(":")[2]))
        server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
        async with server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            asked = asyncio.ensure_future(
                run(tmp_path, url, "a fox", "-m", "pic", "-o", "fox.png", *(("--partial", "1") if streams else ()))
            )
            await pair.a.counted(1)
            await asyncio.sleep(0.5)
            proxy.cut.set()
            ran = await asked
        assert ran.code == 0, ran.err
        assert "the connection broke" in ran.err
        assert (proxy.connections >= 2, pair.asked) == (True, (1, 0))
        assert (tmp_path / "fox.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("", "-o", "a.png"), "the prompt is empty"),
        (("a fox", "-o", "."), "is a directory: --out names a file"),
        (("a fox", "-o", "a.png", "--edit", "nowhere.png"), "cannot read nowhere.png: No such file"),
        (("a fox", "-o", "a.png", "--set", "seed"), "--set takes NAME=VALUE, not 'seed'"),
        (("a fox", "-o", "a.png", "--mask", "routes.yaml"), "name that picture with --edit"),
        (("a fox", "-o", "a.png", "--pin", "öpenai"), "--pin takes printable ASCII only"),
        (("a fox", "-o", "routes.yaml/a.png"), "cannot write to routes.yaml: "),
    ],
)
def test_wrong_options_are_2_and_ask_nobody(program: Program, arguments: tuple[str, ...], said: str) -> None:
    ran = program.run("image", *arguments, WAYBILL_URL="http://127.0.0.1:9")
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err


def test_nobody_there(bare: Program) -> None:
    ran = bare.run("image", "a fox", "-o", "a.png", "--url", "http://127.0.0.1:9")
    assert ran.code == 1
    assert ran.err.endswith("cannot be reached: connection refused\n")
    assert files(bare.directory) == set()


def test_the_time_that_was_asked_for_is_the_time_that_is_told(bare: Program) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ran = bare.run("image", "a fox", "--out", "fox.png", "--url", url, "--timeout", "1")
    assert ran.code == 1
    assert f"the gateway at {url} broke off: no answer within 1 s" in ran.err


async def test_an_interrupt_is_130_and_leaves_nothing(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    program = Program(directory=work)
    async with running_gateway(SANDBOX, tmp_path / "gateway") as gateway:
        argv = program.argv("image", "a fox [delay 5s]", "-o", "fox.png", "--url", gateway.url)
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=work, env=program.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        await process.stderr.readline()
        await asyncio.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
        _, said = await process.communicate()
        assert process.returncode == 130
        assert said.decode() == "waybill: interrupted; what the gateway has begun it finishes: see `waybill logs`\n"
        assert files(work) == set()
