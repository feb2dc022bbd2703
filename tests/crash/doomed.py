"""The program, with a fault at one of twelve points: ``python -m tests.crash.doomed POINT TIMES serve …``.

It is killed, as by ``kill -9``, when it comes to the point for the ``TIMES``-th time. The points are put around the
program from outside, here and nowhere else: the program itself knows of none, so none can be in what is shipped. With
``HASTY_LEASE_S`` in its environment it takes other servers of its ledger for dead after so many seconds.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import NoReturn

import sqlalchemy
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway import main as composition
from gateway.billing import Billing
from gateway.cli import main
from gateway.core.record import Record
from gateway.pictures.keeper import Keeper, Kept
from gateway.ports import Broken, Call, Exchange, Job, Picture, Refused
from gateway.stores import writer
from gateway.stores.commands import Begin, Command, Reply, Settle, run
from gateway.stores.fleet_sql import SqlFleet
from gateway.stores.ledger_sql import SqlLedger
from gateway.upstream.client import Upstream
from gateway.upstream.connection import Connection
from gateway.web.app import build_app

HASTY = "HASTY_LEASE_S"
SOON_S = 0.03  # for what was handed to a socket to leave it


@dataclass(slots=True, kw_only=True)
class Fuse:
    """Counts down to the end of the process."""

    left: int

    def burn(self) -> None:
        self.left -= 1
        if self.left == 0:
            die()

    async def burn_out(self) -> None:
        """Burn, once the loop has had time to write what it was given."""
        if self.left == 1:
            await asyncio.sleep(SOON_S)
        self.burn()


def die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("killed and alive")


def put(owner: object, name: str, new: object) -> None:
    """Put something in the place of what the program has there."""
    setattr(owner, name, new)


# --- in the ledger's transactions ---


def within(kind: type[Begin] | type[Settle], fuse: Fuse) -> None:
    """Written, not committed."""

    def dying(connection: sqlalchemy.Connection, commands: Sequence[Command]) -> Sequence[Reply]:
        replies = run(connection, commands)
        if any(isinstance(command, kind) and is_of_purchase(command) for command in commands):
            fuse.burn()
        return replies

    put(writer, "run", dying)


def is_of_purchase(command: Command) -> bool:
    return isinstance(command, Begin) or (isinstance(command, Settle) and bool(command.ended))


def before_hold_commit(fuse: Fuse) -> None:
    within(Begin, fuse)


def mid_settle(fuse: Fuse) -> None:
    within(Settle, fuse)


def hold_unsent(fuse: Fuse) -> None:
    begin = SqlLedger.begin

    @wraps(begin)
    async def dying(*arguments: object) -> Refused | None:
        refused = await begin(*arguments)  # type: ignore[arg-type]  # passed on as it came
        fuse.burn()
        return refused

    put(SqlLedger, "begin", dying)


# --- on the wire to the upstream ---


def mid_upload(fuse: Fuse) -> None:
    """Half of the body goes out."""
    begin = Connection.begin

    def torn(connection: Connection, data: bytes) -> bool:
        if fuse.left > 1:
            fuse.left -= 1
            return begin(connection, data)
        asyncio.get_running_loop().call_later(SOON_S, fuse.burn)
        return begin(connection, data[: (data.index(b"\r\n\r\n") + 4 + len(data)) // 2])

    put(Connection, "begin", torn)


@dataclass(slots=True, kw_only=True)
class Cut:
    """An answer of which the first piece is read."""

    answer: Exchange
    fuse: Fuse

    @property
    def status(self) -> int:
        return self.answer.status

    @property
    def headers(self) -> Mapping[str, str]:
        return self.answer.headers

    async def chunks(self) -> AsyncIterator[bytes]:
        async for piece in self.answer.chunks():
            half = len(piece) // 2
            yield piece[:half]
            self.fuse.burn()
            yield piece[half:]

    async def close(self) -> None:
        await self.answer.close()


def around_send(after: Callable[[Exchange], Exchange]) -> None:
    send = Upstream.send

    async def dying(upstream: Upstream, call: Call) -> Exchange | Broken:
        answer = await send(upstream, call)
        return answer if isinstance(answer, Broken) else after(answer)

    put(Upstream, "send", dying)


def sent(fuse: Fuse) -> None:
    """The whole request is with the upstream, which has said nothing."""
    send = Upstream.send

    async def dying(upstream: Upstream, call: Call) -> Exchange | Broken:
        if fuse.left == 1:
            asyncio.get_running_loop().call_later(3 * SOON_S, fuse.burn)
        else:
            fuse.left -= 1
        return await send(upstream, call)

    put(Upstream, "send", dying)


def headers(fuse: Fuse) -> None:
    def burnt(answer: Exchange) -> Exchange:
        fuse.burn()
        return answer

    around_send(burnt)


def mid_body(fuse: Fuse) -> None:
    around_send(lambda answer: Cut(answer=answer, fuse=fuse))


# --- when the answer is here ---


def body_no_asset(fuse: Fuse) -> None:
    keep = Keeper.keep

    async def dying(keeper: Keeper, job: Job, pictures: Sequence[Picture]) -> Kept:
        if pictures:
            fuse.burn()
        return await keep(keeper, job, pictures)

    put(Keeper, "keep", dying)


def asset_tmp(fuse: Fuse) -> None:
    link = os.link

    def dying(source: Path, target: Path, *, follow_symlinks: bool = True) -> None:
        fuse.burn()
        link(source, target, follow_symlinks=follow_symlinks)

    put(os, "link", dying)


def settling(before: Fuse | None, after: Fuse | None) -> None:
    settle = Billing.settle

    async def dying(billing: Billing, record: Record) -> None:
        if before is not None and record.attempts:
            before.burn()
        await settle(billing, record)
        if after is not None and record.attempts:
            after.burn()

    put(Billing, "settle", dying)


def asset_kept(fuse: Fuse) -> None:
    settling(fuse, None)


def settled(fuse: Fuse) -> None:
    settling(None, fuse)


def mid_answer(fuse: Fuse) -> None:

    def dying_app(*arguments: object) -> ASGIApp:
        app: ASGIApp = build_app(*arguments)  # type: ignore[arg-type]  # passed on as it came

        async def torn(scope: Scope, receive: Receive, send: Send) -> None:
            is_purchase = scope["type"] == "http" and scope["method"] == "POST" and scope["path"].startswith("/v1/")
            await app(scope, receive, halving(send, fuse) if is_purchase else send)

        return torn

    put(composition, "build_app", dying_app)


def halving(send: Send, fuse: Fuse) -> Send:
    """Send the first half of a body, and then perhaps no more."""
    is_first = True

    async def torn(message: Message) -> None:
        nonlocal is_first
        if is_first and message["type"] == "http.response.body" and message.get("body"):
            is_first = False
            body = bytes(message["body"])
            half = len(body) // 2
            await send({"type": "http.response.body", "body": body[:half], "more_body": True})
            await fuse.burn_out()
            message = {**message, "body": body[half:]}
        await send(message)

    return torn


POINTS: Mapping[str, Callable[[Fuse], None]] = {
    "before hold commit": before_hold_commit,
    "hold, unsent": hold_unsent,
    "mid upload": mid_upload,
    "sent": sent,
    "headers": headers,
    "mid body": mid_body,
    "body, no asset": body_no_asset,
    "asset tmp": asset_tmp,
    "asset kept, unsettled": asset_kept,
    "mid settle": mid_settle,
    "settled, unanswered": settled,
    "mid answer": mid_answer,
}


def hasten(lease_s: float) -> None:
    """Take a server for dead that has not moved for so long."""
    put(SqlFleet.__init__, "__kwdefaults__", {"beat_s": lease_s / 8, "lease_s": lease_s})


if __name__ == "__main__":
    if HASTY in os.environ:
        hasten(float(os.environ[HASTY]))
    POINTS[sys.argv[1]](Fuse(left=int(sys.argv[2])))
    sys.argv[1:] = sys.argv[3:]
    main()
