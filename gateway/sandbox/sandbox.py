"""An upstream inside the process: answers as the OpenAI API does, costs nothing, fails on request.

A ``Sender`` for channels of ``api: sandbox``. It acts on the prompt's directives (``core/sandbox.py``), draws in its
own bounded threads, and hands back an exchange whose body is already whole, or a stream that is told event by event.
Like a real upstream it is subject to the call's ``give_up_at``, and to being cut when the process ends. It must never
reach the network, touch a disk, or know the relay.
"""

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

import orjson
from msgspec import Struct

from gateway.codecs import sandbox as answers
from gateway.codecs import sandbox_events as events
from gateway.codecs.sandbox_events import Moment
from gateway.core.errand import Errand
from gateway.core.sandbox import Mishap, Script, Shape, script, shape
from gateway.core.types import Cause, ErrorBody, Facts, ImageFacts, InputFacts, JsonObject, Phase
from gateway.ports import Broken, Call, ExchangeBroken
from gateway.sandbox.drawing import Poster, draw_with_previews
from gateway.sandbox.shelf import Shelf

CHUNK = 64 * 1024


class Sandbox:
    """Answers calls in process. ``drawers`` bounds the threads that draw; calls beyond that wait their turn."""

    def __init__(self, drawers: int = 2) -> None:
        self._threads = ThreadPoolExecutor(max_workers=drawers, thread_name_prefix="sandbox")
        self._shelf = Shelf()
        self._is_cut = False
        self._waits: set[asyncio.Timeout] = set()

    async def send(self, call: Call) -> "SandboxExchange | SandboxStream | Broken":
        """Wait, fail or draw as the prompt says. Past ``give_up_at`` the call is broken by its ``overdue`` cause."""
        if self._is_cut:
            return Broken(phase=Phase.UNSENT, cause=Cause.INTERRUPTED)
        begun = time.monotonic()
        told = script(call.job.prompt)
        errand = call.job.facts.errand
        if errand is not Errand.CREATE:
            known = self._shelf.answer(errand, call.job.subject, _turn(call, told.prompt))
            return SandboxExchange(known, processing_ms=0)
        try:
            async with self.within(call.give_up_at):
                if not call.job.facts.stream or told.fail not in (None, Mishap.CUT):
                    await asyncio.sleep(told.delay_s)
                if told.fail is Mishap.HANG:
                    await asyncio.Event().wait()
                if told.fail is Mishap.DROP:
                    return Broken(phase=Phase.SENT, cause=Cause.DROPPED)
                made = await self._make(call, told)
        except TimeoutError:
            return Broken(phase=Phase.SENT, cause=self.end_of(call))
        processing_ms = round(1000 * (time.monotonic() - begun))
        is_cut = told.fail is Mishap.CUT
        moments = _moments(made, call.job.facts, told.fail, _turn(call, told.prompt))
        if moments is None:
            return SandboxExchange(made.answer, processing_ms, is_cut=is_cut)
        return SandboxStream(self, moments, told.delay_s, call, processing_ms, is_cut=is_cut)

    async def _make(self, call: Call, told: Script) -> "Made":
        facts, turn = call.job.facts, _turn(call, told.prompt)
        if told.fail is not None and told.fail is not Mishap.CUT:
            return Made(answer=answers.failure(told.fail, turn))
        if not facts.surface.is_images and facts.tool is None:
            return self._remembered(Made(answer=answers.text_response(turn)), turn)
        asked = shape(facts)
        if not isinstance(asked, Shape):
            return Made(answer=answers.error(400, asked))
        made = await asyncio.get_running_loop().run_in_executor(self._threads, _drawn, asked, turn)
        return self._remembered(made, turn)

    def _remembered(self, made: "Made", turn: answers.Turn) -> "Made":
        if not turn.facts.surface.is_images:
            self._shelf.put(made.answer, turn.prompt)
        return made

    def cut(self) -> None:
        """End every call that is under way, and every later one before it begins: ``Cause.INTERRUPTED``."""
        self._is_cut = True
        now = asyncio.get_running_loop().time()
        for wait in self._waits:
            if not wait.expired():
                wait.reschedule(now)

    @asynccontextmanager
    async def within(self, give_up_at: float) -> AsyncIterator[None]:
        """Bound a wait by a moment of the loop's clock, and by a cut. Raises ``TimeoutError``."""
        async with asyncio.timeout_at(asyncio.get_running_loop().time() if self._is_cut else give_up_at) as wait:
            self._waits.add(wait)
            try:
                yield
            finally:
                self._waits.discard(wait)

    def end_of(self, call: Call) -> Cause:
        """Name why a call's time was over."""
        return Cause.INTERRUPTED if self._is_cut else call.overdue

    def close(self) -> None:
        """Let the threads go. A drawing that has begun ends by itself; one that waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class SandboxExchange:
    """A whole answer, read like one that comes over a socket."""

    def __init__(self, answer: answers.Answer, processing_ms: int, *, is_cut: bool = False) -> None:
        self._answer = answer
        self._is_cut = is_cut
        self._headers = {
            "content-type": answer.content_type,
            "content-length": str(len(answer.body)),
            **_own_headers(processing_ms),
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
        for start in range(0, len(body) // 2 if self._is_cut else len(body), CHUNK):
            yield body[start : start + CHUNK]
            await asyncio.sleep(0)
        if self._is_cut:
            raise ExchangeBroken(Cause.TRUNCATED)

    async def close(self) -> None:
        """Nothing is held open."""


class Made(Struct, frozen=True, kw_only=True):
    """A whole answer, and previews of each of its pictures."""

    answer: answers.Answer
    previews: tuple[tuple[bytes, ...], ...] = ()


class SandboxStream:
    """An answer told in events, with the delay spread over what is worth waiting for."""

    status = 200

    def __init__(
        self,
        sandbox: Sandbox,
        moments: Sequence[Moment],
        delay_s: float,
        call: Call,
        processing_ms: int,
        *,
        is_cut: bool,
    ) -> None:
        self._sandbox = sandbox
        self._moments = moments
        self._pause_s = delay_s / max(1, sum(moment.is_step for moment in moments))
        self._call = call
        self._is_cut = is_cut
        self.headers: Mapping[str, str] = {
            "content-type": "text/event-stream; charset=utf-8",
            **_own_headers(processing_ms),
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield one event at a time. Raises ``ExchangeBroken`` when the call's time is over, or as it was told to."""
        for moment in self._moments:
            try:
                async with self._sandbox.within(self._call.give_up_at):
                    await asyncio.sleep(self._pause_s if moment.is_step else 0)
            except TimeoutError:
                raise ExchangeBroken(self._sandbox.end_of(self._call)) from None
            yield moment.data
        if self._is_cut:
            raise ExchangeBroken(Cause.TRUNCATED)

    async def close(self) -> None:
        """Nothing is held open."""


def _own_headers(processing_ms: int) -> Mapping[str, str]:
    return {
        "x-request-id": f"req_{secrets.token_hex(16)}",
        "openai-version": "2020-10-01",
        "openai-processing-ms": str(processing_ms),
    }


def _moments(made: Made, facts: Facts, fail: int | Mishap | None, turn: answers.Turn) -> list[Moment] | None:
    """Tell an answer in events; nothing when it is one that comes whole, also to a stream."""
    if not facts.stream:
        return None
    if fail is Mishap.QUOTA and not facts.surface.is_images:
        begun: JsonObject = orjson.loads(answers.text_response(turn).body)
        return events.refused_response(begun, ErrorBody(**orjson.loads(made.answer.body)["error"]))
    if made.answer.status != 200 or made.answer.content_type != "application/json":
        return None
    document: JsonObject = orjson.loads(made.answer.body)
    if facts.surface.is_images:
        told = events.images(facts.surface, document, made.previews)
    else:
        told = events.response(document, made.previews[0] if made.previews else ())
    return events.cut(told) if fail is Mishap.CUT else told


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


def _drawn(asked: Shape, turn: answers.Turn) -> Made:
    """Draw every picture and build the answer around them; runs in a thread."""
    facts = turn.facts
    notes = [_note(f"image {place}", one) for place, one in enumerate(facts.inputs, start=1)]
    notes += [_note(one.role.value, one) for one in (facts.mask, facts.markup) if one is not None]
    count = asked.n if facts.surface.is_images else 1
    shown = (facts.partial_images or 0) if facts.stream else 0
    posters = [Poster(shape=asked, prompt=turn.prompt, index=index, notes=tuple(notes)) for index in range(count)]
    drawn = [draw_with_previews(poster, shown) for poster in posters]
    if facts.surface.is_images:
        answer = answers.images([picture for picture, _ in drawn], asked, turn)
    else:
        answer = answers.picture_response(drawn[0][0], asked, turn)
    return Made(answer=answer, previews=tuple(previews for _, previews in drawn))


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
