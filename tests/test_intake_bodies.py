"""Bodies on their way in: where they are kept, and who takes their pieces."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.bodies.spool import Spool, SpooledBody, SpoolFull
from gateway.core.types import Refusal, RequestId, Surface
from gateway.intake import ClientGone, Incoming
from gateway.intake.content_type import BodyKind
from gateway.intake.form_request import FormSink
from gateway.intake.incoming import Appetite, Take, pump
from gateway.intake.reading import MEMORY_KNOWN, MEMORY_LEFT
from tests.fakes.incoming import BOUNDARY, FORM, PNG, Door, bytes_of, form, part, slices


@pytest.mark.parametrize(
    ("stated", "sent", "in_memory"),
    [
        (None, 900_000, True),
        (None, 1_100_000, False),
        (0, 3_000_000, True),
        (500_000, 3_000_000, True),  # less comes than was stated: the server has ended the connection by then
        (0, MEMORY_KNOWN + 1, False),
    ],
)
async def test_a_large_body_stays_in_memory_when_its_length_is_stated(
    tmp_path: Path, stated: int | None, sent: int, *, in_memory: bool
) -> None:
    door = Door(tmp_path)
    body = form(part("prompt", "p"), part("image", PNG + b"x" * sent))
    lengths = {} if stated is None else {"content-length": str(len(body) + stated)}
    free = door.spool.memory_left
    job = await door.job(Surface.EDITS, slices(body, 250_000), FORM | lengths)
    assert (list((tmp_path / "spool").iterdir()) == []) == in_memory
    assert door.spool.memory_left == free - (len(body) if in_memory else 0)
    assert await bytes_of(job) == body
    job.body.close()
    assert (door.spool.memory_left, door.spool.disk_left) == (free, door.disk_cap)
    door.spool.close()


@dataclass
class Tapped:
    """A server that hands pieces on as they arrive, while it is told to; the rest it keeps for whoever asks."""

    pieces: list[bytes]
    take: Take | None = None
    said: list[Appetite] = field(default_factory=list)
    leaves: bool = False

    def tap(self, take: Take | None) -> None:
        self.take = take

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.pieces[0]  # came before anybody was there to take it
        for piece in self.pieces[1:]:
            if self.take is None:
                yield piece
                continue
            self.said.append(self.take(piece))
            if self.said[-1] is Appetite.ENOUGH:
                self.take = None
                yield b""
        if self.leaves:
            raise ClientGone
        yield b""

    async def pumped(self, cap: int, sink: FormSink) -> Refusal | None:
        request = RequestId("req_" + "0" * 32)
        time = datetime(2026, 11, 21, tzinfo=UTC)
        return await pump(
            Incoming(
                surface=Surface.EDITS,
                request_id=request,
                time=time,
                started=1.0,
                headers=FORM,
                chunks=self.chunks(),
                tap=self.tap,
            ),
            cap,
            sink,
        )


def form_sink(spool: Spool) -> tuple[FormSink, SpooledBody]:
    body = SpooledBody(spool, 0)
    return FormSink(BodyKind(content_type=FORM["content-type"], boundary=BOUNDARY), body), body


async def test_pieces_may_be_taken_where_they_arrive(tmp_path: Path) -> None:
    whole = form(part("prompt", "p"), part("image", PNG + bytes(3_000_000)))
    server, (sink, body) = Tapped(slices(whole, 250_000)), form_sink(Spool(tmp_path))
    assert await server.pumped(10_000_000, sink) is None
    assert (server.take, len(server.said)) == (None, len(server.pieces) - 1)
    assert server.said.count(Appetite.PAUSE) == 4  # others have a turn after each half a MiB
    assert b"".join([piece async for piece in body.read()]) == whole
    body.close()


@pytest.mark.parametrize(("cap", "code"), [(500_000, "request_too_large"), (10_000_000, "invalid_value")])
async def test_who_takes_pieces_where_they_arrive_may_have_enough(tmp_path: Path, cap: int, code: str) -> None:
    whole = form(part("prompt", "p"), part("image", bytes(900_000)), part("n", "x", more="folded\r\n"))
    server, (sink, body) = Tapped(slices(whole, 250_000) + [b"x"] * 5), form_sink(Spool(tmp_path))
    refusal = await server.pumped(cap, sink)
    assert refusal is not None
    assert (refusal.code, server.said[-1], server.take) == (code, Appetite.ENOUGH, None)
    body.close()


async def test_a_full_spool_and_a_client_that_leaves_end_the_taking(tmp_path: Path) -> None:
    pieces = slices(form(part("prompt", "p"), part("image", bytes(900_000))), 250_000)
    server, (sink, body) = Tapped(pieces), form_sink(Spool(tmp_path / "full", disk_cap=500_000))
    with pytest.raises(SpoolFull):
        await server.pumped(10_000_000, sink)
    body.close()
    server, (sink, body) = Tapped(pieces[:-1], leaves=True), form_sink(Spool(tmp_path / "left"))
    with pytest.raises(ClientGone):
        await server.pumped(10_000_000, sink)
    assert server.take is None
    body.close()


async def test_requests_leave_memory_to_answers(tmp_path: Path) -> None:
    door = Door(tmp_path)
    body = form(part("prompt", "p"), part("image", PNG + b"x" * 20_000_000))
    lengths = {"content-length": str(len(body))}
    jobs = [await door.job(Surface.EDITS, slices(body, 250_000), FORM | lengths) for _ in range(4)]
    assert door.spool.memory_left >= MEMORY_LEFT
    assert len(list((tmp_path / "spool").iterdir())) == 1
    for job in jobs:
        job.body.close()
    door.spool.close()
