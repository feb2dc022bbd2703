"""Follows one upstream's answer that is a stream of events, to its end, and passes it on while it comes.

Rules: an event goes on whole or not at all, byte for byte, so a stream that breaks leaves the client with whole events;
a large one waits in the spool, its pictures decoded, hashed and measured as they pass. What says only that work began
is held; the first event with content goes out, and from then on every event as soon as it is whole. The event that
ends the stream is kept back, for the request is settled before its last byte leaves. Nothing is invented here: an
upstream's error is told to whoever asks, not passed on. A client that left is no reason to stop reading.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Final

from gateway.bodies.answer import AnswerSpool
from gateway.bodies.spool import Spool, SpoolFull
from gateway.core.seen import Observation
from gateway.core.sse import Piece, Splitter
from gateway.core.stream_events import EventKind, Heard, Tally
from gateway.core.types import Cause, Phase
from gateway.outlet import Outlet
from gateway.ports import AnswerBody, Clock, Codec, Exchange, ExchangeBroken, Job, Replayable

_FINAL: Final = frozenset({EventKind.PICTURE, EventKind.ITEM, EventKind.END})  # previews are not kept
GRACE_S: Final = 0.1  # for an upstream to close its stream after the last event, so that the connection can be kept
_TURN_AFTER: Final = 32  # events and pieces of them
EVENT_STREAM: Final = "text/event-stream"

Note = Callable[[Iterable[str]], Coroutine[None, None, None]]
"""Notes ids that the client is about to see; they count as noted from its first step on."""


class _BadEvent(Exception):
    """An event whose data is no JSON object: no client could read it."""


class Follower:
    """One attempt's answer, as far as it is a stream. ``last`` are the events kept back for the end.

    ``headers`` are the upstream's, once its head has come; ``next_sequence`` is the number an added event would have.
    """

    def __init__(self, job: Job, codec: Codec, spool: Spool, outlet: Outlet, note: Note) -> None:
        self._job = job
        self._codec = codec
        self._spool = spool
        self._outlet = outlet
        self._note = note
        self._event: AnswerSpool | None = None
        self._noting: asyncio.Future[None] | None = None
        self._pictures: dict[str, Replayable] = {}  # final ones, by hash: events go out and are given back, these stay
        self.headers: Mapping[str, str] = {}
        self.tally = Tally(job.facts.surface, job.facts.n)
        self.last: list[AnswerBody] = []
        self.next_sequence: int | None = None
        self.partials_sent = 0
        self._unpaused = 0

    async def follow(self, sent: Exchange) -> Cause | None:
        """Read the answer to its end; says why it ended when that was too early. Never raises for the upstream."""
        try:
            cause = await self._read(sent)
        except ExchangeBroken as broken:
            cause = broken.cause
        except SpoolFull as full:
            cause = full.cause
        except _BadEvent:
            cause = Cause.BAD_EVENT
        except TimeoutError:
            cause = None  # it has said all there is, and only did not hang up
        finally:
            self._drop()
            if self._noting is not None:
                await asyncio.shield(self._noting)
        return None if self.tally.facts.is_ended else cause

    def take(self, sha256: str) -> Replayable | None:
        """Give away the bytes of a final picture, once; nothing for one that was given, or never came."""
        return self._pictures.pop(sha256, None)

    def release(self) -> None:
        """Give back the pictures that nobody took."""
        for body in self._pictures.values():
            body.close()
        self._pictures.clear()

    async def _read(self, sent: Exchange) -> Cause | None:
        splitter = Splitter()
        async with asyncio.timeout(None) as grace:
            async for chunk in sent.chunks():
                await self._take_all(splitter.feed(chunk))
                if self.tally.is_over:
                    return None
                await self._count()
                if self.tally.facts.is_ended and grace.when() is None:
                    grace.reschedule(asyncio.get_running_loop().time() + GRACE_S)
            unclosed = splitter.finish()
            if unclosed is not None:
                await self._take_unclosed(unclosed)
        return None if self.tally.is_over else Cause.UNFINISHED

    async def _take_all(self, pieces: Sequence[Piece]) -> None:
        for piece in pieces:
            await self._take(piece)
            if self.tally.is_over:
                return
            await self._count()

    async def _count(self) -> None:
        """Give others a turn now and then: an upstream that never pauses would leave them none."""
        self._unpaused += 1
        if self._unpaused >= _TURN_AFTER:
            self._unpaused = 0
            await asyncio.sleep(0)

    async def _take(self, piece: Piece) -> None:
        if self._event is None:
            self._event = AnswerSpool(self._spool)
        self._event.feed(piece.data)
        if not piece.ends:
            return
        event = self._event.finish_event()
        if event is None:  # comments, or fields that mean nothing without data
            self._drop()
            return
        whole, self._event = self._event, None
        await self._pass_on(whole, self._codec.read_event(self._job, event))

    async def _take_unclosed(self, piece: Piece) -> None:
        """Take an event that the end of the stream cut off: it counts if only its blank line is missing."""
        try:
            await self._take(piece)
        except _BadEvent:
            return

    async def _pass_on(self, event: AnswerSpool, heard: Heard) -> None:
        was_ended = self.tally.facts.is_ended
        if heard.kind in (EventKind.DONE, EventKind.ERROR, EventKind.BROKEN):
            event.close()
            if heard.kind is EventKind.ERROR and not was_ended:
                self.tally.add(heard)
            elif heard.kind is EventKind.BROKEN and not was_ended:
                raise _BadEvent
            return
        self.tally.add(heard)
        if heard.kind in _FINAL:
            self._detach(event)
        if heard.kind is EventKind.OPENING and heard.reading is not None and self.next_sequence is None:
            self._noting = asyncio.ensure_future(self._note(heard.reading.ids))  # awaited at the end
        if self.tally.facts.is_ended:
            self.last.append(event)
            return
        if self.tally.facts.has_content:
            arrived = await self._outlet.send(event)
            self.partials_sent += arrived and heard.kind is EventKind.PARTIAL
        else:
            await self._outlet.hold(event)
        if heard.sequence is not None:
            self.next_sequence = heard.sequence + 1

    def _detach(self, event: AnswerSpool) -> None:
        for image, lease in event.pictures():
            if image.sha256 not in self._pictures:
                self._pictures[image.sha256] = lease()

    def _drop(self) -> None:
        if self._event is not None:
            self._event.close()
            self._event = None


def is_event_stream(sent: Exchange) -> bool:
    """Whether an answer is a stream of events, good or bad."""
    kind = sent.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    return 200 <= sent.status < 300 and kind == EVENT_STREAM


async def observe(follower: Follower, sent: Exchange, clock: Clock, started: float) -> Observation:
    """Follow ``sent`` to its end and say what was seen; ``started`` is when the attempt began, on ``clock``."""
    try:
        cause = await follower.follow(sent)
    finally:
        await sent.close()
    return Observation(
        phase=Phase.DONE if cause is None else Phase.ANSWERED,
        cause=cause,
        elapsed_s=clock.monotonic() - started,
        status=sent.status,
        headers=sent.headers,
        stream=follower.tally.facts,
    )
