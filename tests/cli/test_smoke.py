"""``smoke``: the same request down two scripted channels of a real gateway, compared by the real program."""

import asyncio
import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

from gateway.core.types import JsonObject, Surface
from gateway.core.verification import proof_of
from gateway.stores.verified_sql import read_verifications
from tests.cli.program import Program, Ran
from tests.cli.test_image import SANDBOX
from tests.fakes import answers, events, script
from tests.fakes.gateway import running_gateway
from tests.fakes.pair import Pair, running_pair

PRICED: JsonObject = {"unit": "per_image", "amount": 0.04}


async def run(directory: Path, url: str, *arguments: str, **env: str) -> Ran:
    program = Program(directory=directory)
    return await asyncio.to_thread(program.run, "smoke", *arguments, WAYBILL_URL=url, **env)


async def tried(pair: Pair, *arguments: str, yes: bool = True) -> Ran:
    """Run it beside the gateway's own file and ledger."""
    directory = pair.database.parents[1]
    return await run(directory, pair.gateway.url, "--model", "pic", *arguments, *(("--yes",) if yes else ()))


def facet(ran: Ran, what: str, target: int = 0) -> dict[str, Any]:
    document = json.loads(ran.out)
    found: dict[str, Any] = next(one for one in document["targets"][target]["facets"] if one["what"] == what)
    return found


def play(pair: Pair, a: bytes, b: bytes) -> None:
    pair.a.play(script.reply(200, a))
    pair.b.play(script.reply(200, b))


async def test_the_sandbox_passes_and_is_noted_as_verified(tmp_path: Path) -> None:
    async with running_gateway(SANDBOX, tmp_path) as gateway:
        ran = await run(tmp_path, gateway.url, "--model", "gpt-image-2")
        assert ran.code == 0
        lines = [" ".join(line.split()) for line in ran.out.splitlines()]
        assert lines[0] == "sandbox against what was asked for"
        assert "images/generations status 200 ok" in lines
        assert "pixels 1024x1024 ok" in lines
        assert "our record as it came ok" in lines
        assert lines[-3:] == [
            "sandbox: nothing differs that matters",
            "spent 0.080000 USD",
            "verified: sandbox/gpt-image-2 on images/generations, sandbox/gpt-image-2 on images/edits",
        ]
        noted = read_verifications(f"sqlite:///{tmp_path / 'data' / 'waybill.db'}")
        assert {(one.proof.channel, one.proof.surface.value, one.passed) for one in noted} == {
            ("sandbox", "images/generations", True),
            ("sandbox", "images/edits", True),
        }


async def test_two_channels_that_are_alike(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        pair.a.play(script.reply(200, answers.image_answer()), script.reply(200, answers.image_answer()))
        pair.b.play(script.reply(200, answers.image_answer()), script.reply(200, answers.image_answer()))
        ran = await tried(pair, "--size", "64x64", "--json")
        assert (ran.code, pair.asked) == (0, (2, 2))
        document = json.loads(ran.out)
        assert (document["model"], document["passed"], document["skipped"]) == ("pic", True, [])
        [target] = document["targets"]
        assert (target["channel"], target["row"], target["baseline"]) == ("B", "pic", "A")
        assert len(document["requests"]) == 4
        assert facet(ran, "likeness")["target"] == "the same pixels"
        assert {one["surface"] for one in document["verified"]} == {"images/generations", "images/edits"}
        assert {one["channel"] for one in document["verified"]} == {"A", "B"}
        assert [seen.header("x-route-pin") for seen in pair.a.requests] == [None, None]


async def test_what_an_application_would_notice_matters(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        asked = ("-e", "images/generations", "--size", "64x64", "--background", "transparent", "--json")
        play(pair, answers.image_answer(alpha=1, noise=1), answers.image_answer(width=32, height=32))
        ran = await tried(pair, *asked)
        assert ran.code == 1
        assert facet(ran, "pixels") == {
            "step": "images/generations",
            "what": "pixels",
            "baseline": "64x64",
            "target": "32x32",
            "verdict": "matters",
            "why": "64x64 asked",
        }
        assert facet(ran, "transparency")["why"] == "transparent was asked"
        assert facet(ran, "warnings")["verdict"] == "matters"
        play(
            pair,
            answers.image_answer(),
            answers.image_answer_that_says({"usage": {**answers.USAGE, "output_tokens": 6240}}),
        )
        ran = await tried(pair, "-e", "images/generations", "--json")
        assert facet(ran, "usage")["why"].startswith("another number of output tokens")
        play(pair, answers.image_answer(), answers.image_answer(n=2))
        assert facet(await tried(pair, "-e", "images/generations", "--json"), "pictures")["verdict"] == "matters"
        noted = read_verifications(f"sqlite:///{pair.database}")
        assert {one.proof.channel: one.passed for one in noted} == {"A": True, "B": False}


async def test_a_failure_is_compared_by_its_words(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        pair.a.play(script.reply(200, answers.image_answer()))
        pair.b.play(script.reply(400, answers.OPENAI_ERRORS[2].body))
        ran = await tried(pair, "-e", "images/generations")
        assert ran.code == 1
        text = " ".join(ran.out.split())
        assert "status 200 400 matters" in text
        assert "invalid_value: Invalid size '100x100'." in text
        assert "B: status on images/generations" in text


async def test_streams_are_compared_event_by_event(tmp_path: Path) -> None:
    picture = answers.png(64, 64)
    last = events.event(events.picture_event("completed", data=picture))
    preview = events.event(events.picture_event("partial_image", 0))
    async with running_pair(tmp_path) as pair:
        pair.a.play(script.stream(preview, last))
        pair.b.play(script.stream(last))
        ran = await tried(pair, "-e", "images/generations", "--partial", "1", "--size", "64x64", "--json")
        assert ran.code == 1
        seen = facet(ran, "events")
        assert (seen["step"], seen["baseline"], seen["target"]) == (
            "images/generations, streamed",
            "partial_image, completed",
            "completed",
        )
        assert (seen["verdict"], seen["why"]) == ("matters", "no partial_image")


async def test_a_turn_is_asked_to_draw(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        play(pair, answers.responses_answer(), answers.responses_answer(picture=False))
        ran = await run(tmp_path, pair.gateway.url, "--model", "chat", "--yes", "--json")
        assert ran.code == 1
        assert facet(ran, "status")["target"] == "502"
        sent = json.loads(pair.a.requests[0].body)
        assert sent["tools"] == [{"type": "image_generation"}]
        assert sent["tool_choice"] == {"type": "image_generation"}


async def test_money_is_agreed_to_first(tmp_path: Path) -> None:
    rows = {"pic": {"serves": ["images/generations"], "price": PRICED}}
    async with running_pair(tmp_path, A={"rows": {**rows, "chat": {"serves": ["responses"]}}}) as pair:
        ran = await tried(pair, "-e", "images/generations", "--runs", "2", yes=False)
        assert (ran.code, pair.asked) == (2, (0, 0))
        assert "4 requests, about 0.080000 USD at most, and 2 requests at a price that is not known." in ran.err
        assert (
            "nothing was asked for: this would spend money. Run it in a terminal to be asked, or add --yes" in ran.err
        )


async def test_like_an_earlier_request(tmp_path: Path) -> None:
    async with running_pair(tmp_path) as pair:
        pair.a.play(script.reply(200, answers.image_answer(n=2)), script.reply(200, answers.image_answer(n=2)))
        body = {"model": "pic", "prompt": "x", "n": 2, "quality": "medium"}
        first = await pair.post("images/generations", body)
        await pair.record_of(first)
        wanted = ("--like", first.headers["x-request-id"], "--target", "A", "--yes", "--json")
        ran = await run(tmp_path, pair.gateway.url, *wanted)
        assert (ran.code, pair.asked) == (0, (2, 0))
        sent = json.loads(pair.a.requests[1].body)
        assert (sent["n"], sent["quality"]) == (2, "medium")
        gone = await run(tmp_path, pair.gateway.url, "--like", "req_0", "--yes")
        assert (gone.code, gone.err) == (2, "waybill: there is no record of req_0\n")


async def test_a_ledger_that_is_another_is_left_alone(tmp_path: Path) -> None:
    async with running_gateway(SANDBOX, tmp_path / "gateway") as gateway:
        (tmp_path / "routes.yaml").write_text(SANDBOX)
        ran = await run(tmp_path, gateway.url, "--model", "gpt-image-2", "-e", "images/edits", "--json")
        assert (ran.code, json.loads(ran.out)["verified"]) == (0, [])
        assert facet(ran, "our record")["verdict"] in {"noted", "same"}
        assert not (tmp_path / "data").exists()


async def test_a_row_takes_traffic_once_it_has_passed(tmp_path: Path) -> None:
    rows = {name: {"serves": ["images/generations"], "require": "verified"} for name in ("pic",)}
    async with running_pair(tmp_path, B={"rows": {**rows, "chat": {"serves": ["responses"]}}}) as pair:
        pair.a.play(script.reply(200, answers.image_answer()), script.reply(503, {"error": {"message": "down"}}))
        pair.b.play(script.reply(200, answers.image_answer()), script.reply(200, answers.image_answer()))
        ran = await tried(pair, "-e", "images/generations", "--json")
        assert ran.code == 0, ran.out
        assert {one["channel"] for one in json.loads(ran.out)["verified"]} == {"A", "B"}
        await asyncio.sleep(1.2)
        answer = await pair.generate()
        assert (answer.status_code, answer.headers["x-route-channel"], pair.asked) == (200, "B", (2, 2))


async def test_a_shell_without_the_channels_keys_can_try_what_the_gateway_has(tmp_path: Path) -> None:
    async with running_pair(tmp_path / "gateway") as pair:
        theirs = (tmp_path / "gateway" / "routes.yaml").read_text()
        work = tmp_path / "work"
        work.mkdir()
        (work / "routes.yaml").write_text(theirs.replace("sk-B", "${B_KEY}"))
        play(pair, answers.image_answer(), answers.image_answer())
        wanted = ("--model", "pic", "-e", "images/generations", "--yes", "--json")
        where = ("--data-dir", str(pair.database.parent))
        ran = await run(work, pair.gateway.url, *wanted, *where)
        assert (ran.code, pair.asked) == (0, (1, 1)), ran.err
        document = json.loads(ran.out)
        assert [one["channel"] for one in document["targets"]] == ["B"]
        assert {one["channel"] for one in document["verified"]} == {"A", "B"}
        noted = {one.proof for one in read_verifications(f"sqlite:///{pair.database}")}
        table = pair.gateway.gateway.loaded.table
        for name in ("A", "B"):
            channel = table.channels[name]
            assert proof_of(channel, channel.rows["pic"], Surface.GENERATIONS) in noted, "of the gateway's account"


async def test_an_interrupt_is_130(tmp_path: Path) -> None:
    program = Program(directory=tmp_path)
    async with running_gateway(SANDBOX, tmp_path) as gateway:
        argv = program.argv("smoke", "-m", "gpt-image-2", "--prompt", "a fox [delay 5s]", "--url", gateway.url)
        process = await asyncio.create_subprocess_exec(
            *argv, cwd=tmp_path, env=program.environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert process.stderr is not None
        while b"sandbox: images/generations" not in await process.stderr.readline():
            pass
        await asyncio.sleep(0.3)
        os.kill(process.pid, signal.SIGINT)
        out, said = await process.communicate()
        assert (process.returncode, out) == (130, b"")
        assert said.startswith(b"waybill: interrupted; ")


def test_words_that_mean_nothing(program: Program) -> None:
    wrong = (
        (("--model", "gpt-image-3"), "there is no route 'gpt-image-3'; did you mean 'gpt-image-2'?"),
        (("--model", "gpt-image-2", "--target", "laozang"), "no target on 'laozang'; did you mean 'laozhang'?"),
        (("--model", "gpt-5.5"), "is ready with what this shell has (openai: OPENAI_API_KEY is not set), and"),
    )
    for arguments, said in wrong:
        ran = program.run("smoke", *arguments, WAYBILL_URL="http://127.0.0.1:9")
        assert (ran.code, ran.out) == (2, "")
        assert said in ran.err


def test_what_cannot_be_asked_is_said(program: Program) -> None:
    ran = program.run("smoke", "--model", "gpt-image-2", "--target", "openai")
    assert ran.code == 1
    assert "openai is not asked on images/edits: OPENAI_API_KEY is not set" in ran.out
    assert "openai: nothing could be compared" in ran.out
