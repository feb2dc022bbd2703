"""An upstream inside the process: answers as the OpenAI API does, costs nothing, fails on request.

A ``Sender`` for channels of ``api: sandbox``. It acts on the prompt's directives (``core/sandbox.py``), draws in its
own bounded threads, and hands back an exchange whose body is already whole. Like a real upstream it is subject to the
call's ``give_up_at``. It must never reach the network, touch a disk, or know the relay.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor

import orjson

from gateway.codecs import sandbox as answers
from gateway.core.sandbox import Mishap, Script, Shape, script, shape
from gateway.core.types import Cause, ImageFacts, InputFacts, Phase
from gateway.drawing import Poster, draw
from gateway.ports import Broken, Call

CHUNK = 64 * 1024


class Sandbox:
    """Answers calls in process. ``drawers`` bounds the threads that draw; calls beyond that wait their turn."""

    def __init__(self, drawers: int = 2) -> None:
        self._threads = ThreadPoolExecutor(max_workers=drawers, thread_name_prefix="sandbox")

    async def send(self, call: Call) -> "SandboxExchange | Broken":
        """Wait, fail or draw as the prompt says. Past ``give_up_at`` the call is broken by its ``overdue`` cause."""
        begun = time.monotonic()
        told = script(call.job.prompt)
        try:
            async with asyncio.timeout_at(call.give_up_at):
                await asyncio.sleep(told.delay_s)
                if told.fail is Mishap.HANG:
                    await asyncio.Event().wait()
                if told.fail is Mishap.DROP:
                    return Broken(phase=Phase.SENT, cause=Cause.DROPPED)
                answer = await self._answer(call, told)
        except TimeoutError:
            return Broken(phase=Phase.SENT, cause=call.overdue)
        return SandboxExchange(answer, processing_ms=round(1000 * (time.monotonic() - begun)))

    async def _answer(self, call: Call, told: Script) -> answers.Answer:
        facts, turn = call.job.facts, _turn(call, told.prompt)
        if told.fail is not None:
            return answers.failure(told.fail, turn)
        if not facts.surface.is_images and facts.tool is None:
            return answers.text_response(turn)
        asked = shape(facts)
        if not isinstance(asked, Shape):
            return answers.error(400, asked)
        return await asyncio.get_running_loop().run_in_executor(self._threads, _drawn, asked, turn)

    def close(self) -> None:
        """Let the threads go. A drawing that has begun ends by itself; one that waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class SandboxExchange:
    """A whole answer, read like one that comes over a socket."""

    def __init__(self, answer: answers.Answer, processing_ms: int) -> None:
        self._answer = answer
        self._headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            "x-request-id": f"req_{secrets.token_hex(16)}",
            "openai-version": "2020-10-01",
            "openai-processing-ms": str(processing_ms),
        }
        if answer.retry_after_s is not None:
            self._headers["retry-after"] = str(answer.retry_after_s)

    @property
    def status(self) -> int:
        """HTTP status."""
        return self._answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        """Lower-case names."""
        return self._headers

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the body in pieces of 64 KiB, giving way to others between two pieces."""
        body = self._answer.body
        for start in range(0, len(body), CHUNK):
            yield body[start : start + CHUNK]
            await asyncio.sleep(0)

    async def close(self) -> None:
        """Nothing is held open."""


def _turn(call: Call, prompt: str) -> answers.Turn:
    return answers.Turn(
        facts=call.job.facts,
        sent_model=call.sent_model,
        prompt=prompt,
        token=secrets.token_hex(24),
        created=int(time.time()),
        tool_model=_tool_model(call),
    )


def _tool_model(call: Call) -> str | None:
    """Give the image tool's model as it stands in the body that was sent: replaced by a splice, or the caller's."""
    tool, places = call.job.facts.tool, call.job.body_map.tool_models
    for splice in call.wire.splices:
        if (splice.start, splice.end) in places:
            return str(orjson.loads(splice.text))
    return tool.asked_model if tool is not None else None


def _drawn(asked: Shape, turn: answers.Turn) -> answers.Answer:
    """Draw every picture and build the answer around them; runs in a thread."""
    facts = turn.facts
    notes = [_note(f"image {place}", one) for place, one in enumerate(facts.inputs, start=1)]
    notes += [_note(one.role.value, one) for one in (facts.mask, facts.markup) if one is not None]
    count = asked.n if facts.surface.is_images else 1
    pictures = [
        draw(Poster(shape=asked, prompt=turn.prompt, index=index, notes=tuple(notes))) for index in range(count)
    ]
    if facts.surface.is_images:
        return answers.images(pictures, asked, turn)
    return answers.picture_response(pictures[0], asked, turn)


def _note(name: str, given: InputFacts) -> str:
    image = given.image
    if image is None:
        return f"{name}  ·  by {given.source.replace('_', ' ')}, not looked at"
    return "  ·  ".join(
        [name, image.format.upper(), _pixels(image), _bytes(image.bytes), f"sha256 {image.sha256[:12]}"]
    )


def _pixels(image: ImageFacts) -> str:
    return f"{image.width} x {image.height}" if image.width and image.height else "unknown size"


def _bytes(count: int) -> str:
    if count >= 1_000_000:
        return f"{count / 1_000_000:.1f} MB"
    return f"{count / 1000:.1f} kB" if count >= 1000 else f"{count} bytes"
