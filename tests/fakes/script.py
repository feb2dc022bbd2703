"""What a fake upstream does with one request: a few primitive steps, and a name for each fault that is made of them.

A ``Script`` says how much of the request is read before the first step, what is put on the wire, and how the
connection ends. Every constructor below gives a fresh, immutable value, so a transcript can name its upstreams' lines.
"""

import gzip as gzip_module
import json as json_module
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from gateway.core.types import JsonObject

FOREVER_S = 3600.0
_REASONS = {200: "OK", 302: "Found", 400: "Bad Request", 401: "Unauthorized", 413: "Content Too Large", 429: "Too Many"}


class Reads(StrEnum):
    """How much of the request is read before the script starts."""

    ALL = "all"
    HEAD = "head"  # the body is left in the socket


class Ending(StrEnum):
    """What becomes of the connection after the last step."""

    KEEP = "keep"
    CLOSE = "close"
    RESET = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Put bytes on the wire: whole, or in slices of ``slice`` bytes with ``pause_s`` between them; ``times`` over."""

    data: bytes
    slice: int = 0
    pause_s: float = 0.0
    times: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Wait:
    """Do nothing for a while, or until the client goes."""

    seconds: float


Step = Send | Wait


@dataclass(frozen=True, slots=True, kw_only=True)
class Script:
    """One request's fate."""

    name: str
    steps: tuple[Step, ...] = ()
    reads: Reads = Reads.ALL
    ending: Ending = Ending.KEEP


def head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}", *(f"{k}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _body_of(body: JsonObject | bytes) -> bytes:
    return body if isinstance(body, bytes) else json_module.dumps(body, ensure_ascii=False).encode()


def _headers_of(headers: Mapping[str, str] | None, framing: Mapping[str, str]) -> dict[str, str]:
    return {"content-type": "application/json", "x-request-id": "up_1", **(headers or {}), **framing}


def _chunk(piece: bytes) -> bytes:
    return f"{len(piece):x}\r\n".encode() + piece + b"\r\n"


def reply(
    status: int = 200,
    body: JsonObject | bytes = b"{}",
    *,
    headers: Mapping[str, str] | None = None,
    delay_s: float = 0.0,
    chunked: bool = False,
    slice: int = 0,  # noqa: A002 - the word of the trade
) -> Script:
    """Answer in order. ``slice``: bytes per write (1 tears everything apart); with ``chunked``, per HTTP chunk."""
    data = _body_of(body)
    if chunked:
        step = slice or 65_536
        pieces = [data[i : i + step] for i in range(0, len(data), step)]
        wire = b"".join(_chunk(piece) for piece in pieces) + b"0\r\n\r\n"
        framing = {"transfer-encoding": "chunked"}
    else:
        wire, framing = data, {"content-length": str(len(data))}
    first = (Wait(seconds=delay_s),) if delay_s else ()
    whole = head(status, _headers_of(headers, framing)) + wire
    return Script(name=f"reply {status}", steps=(*first, Send(data=whole, slice=slice)))


def picture(data: bytes, kind: str = "image/png", **more: str) -> Script:
    """Answer with a picture, as a server of files does."""
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return reply(200, data, headers={"content-type": kind, **named})


def redirect(location: str, status: int = 302) -> Script:
    return reply(status, b"", headers={"location": location})


def stream(
    *pieces: bytes | float,
    slice: int = 0,  # noqa: A002 - the word of the trade
    finished: bool = True,
    stalls: bool = False,
    ending: Ending = Ending.KEEP,
    headers: Mapping[str, str] | None = None,
) -> Script:
    """Answer with a stream of events: bytes are sent, each piece an HTTP chunk (or chunks of ``slice`` bytes), numbers
    are seconds of silence. ``finished``: the last chunk comes; ``stalls``: nothing comes any more, and no end."""
    framing = {"content-type": "text/event-stream; charset=utf-8", "transfer-encoding": "chunked", **(headers or {})}
    steps: list[Step] = [Send(data=head(200, {"x-request-id": "up_1", **framing}))]
    for piece in pieces:
        if isinstance(piece, float):
            steps.append(Wait(seconds=piece))
            continue
        step = slice or max(len(piece), 1)
        cut = [piece[at : at + step] for at in range(0, len(piece), step)]
        steps.append(Send(data=b"".join(_chunk(part) for part in cut), slice=slice and slice + 6))
    if finished:
        steps.append(Send(data=b"0\r\n\r\n"))
    elif ending is Ending.RESET:
        steps.append(Wait(seconds=0.05))
    if stalls:
        steps.append(Wait(seconds=FOREVER_S))
    return Script(name="stream", steps=tuple(steps), ending=ending)


def until_close(status: int = 200, body: JsonObject | bytes = b"{}", *, reset: bool = False) -> Script:
    """Answer without a length: the end of the connection is the end of the body."""
    wire = head(status, _headers_of(None, {"connection": "close"})) + _body_of(body)
    ending = Ending.RESET if reset else Ending.CLOSE
    return Script(name="until_close", steps=(Send(data=wire), Wait(seconds=0.05)), ending=ending)


def drop_before_status() -> Script:
    return Script(name="drop_before_status", ending=Ending.CLOSE)


def drop_in_head() -> Script:
    return Script(name="drop_in_head", steps=(Send(data=b"HTTP/1.1 200 OK\r\ncontent-le"),), ending=Ending.CLOSE)


def reset_before_status() -> Script:
    return Script(name="reset_before_status", ending=Ending.RESET)


def reset_after_status(body: bytes = b'{"data":[', promised: int = 1000) -> Script:
    wire = head(200, _headers_of(None, {"content-length": str(promised)})) + body
    return Script(name="reset_after_status", steps=(Send(data=wire), Wait(seconds=0.05)), ending=Ending.RESET)


def short_length(body: bytes = b'{"data":[', promised: int = 1000) -> Script:
    """Close in order before the promised length."""
    wire = head(200, _headers_of(None, {"content-length": str(promised)})) + body
    return Script(name="short_length", steps=(Send(data=wire),), ending=Ending.CLOSE)


def truncate(n: int, body: JsonObject | bytes = b"{}") -> Script:
    """Promise the whole body, send its first ``n`` bytes, close."""
    data = _body_of(body)
    return short_length(data[:n], len(data))


def _chunked_cut(name: str, tail: bytes, ending: Ending) -> Script:
    wire = head(200, _headers_of(None, {"transfer-encoding": "chunked"})) + _chunk(b'{"data":[')
    steps = (
        Send(data=wire),
        Wait(seconds=0.05),
        Send(data=tail),
        Wait(seconds=FOREVER_S if ending is Ending.KEEP else 0),
    )
    return Script(name=name, steps=steps, ending=ending)


def truncated_chunk() -> Script:
    return _chunked_cut("truncated_chunk", b"50\r\nabc", Ending.CLOSE)


def no_last_chunk() -> Script:
    return _chunked_cut("no_last_chunk", _chunk(b"]}"), Ending.CLOSE)


def bad_chunk() -> Script:
    """A chunk size that is no number; the connection stays open, so only parsing ends it."""
    return _chunked_cut("bad_chunk", b"zz\r\nabc\r\n", Ending.KEEP)


def bad_status_line() -> Script:
    return Script(name="bad_status_line", steps=(Send(data=b"SSH-2.0-OpenSSH\r\n\r\n"), Wait(seconds=FOREVER_S)))


def hang() -> Script:
    """Take the request and say nothing."""
    return Script(name="hang", steps=(Wait(seconds=FOREVER_S),))


def stall(body: bytes = b'{"data":[') -> Script:
    """Send the head and part of the body, then nothing."""
    wire = head(200, _headers_of(None, {"content-length": "1000"})) + body
    return Script(name="stall", steps=(Send(data=wire), Wait(seconds=FOREVER_S)))


def trickle(body: bytes = b" " * 1000, pause_s: float = 0.05) -> Script:
    """Send the body one byte at a time: no gap is long, and there is no end."""
    first = head(200, _headers_of(None, {"content-length": str(len(body))}))
    return Script(name="trickle", steps=(Send(data=first), Send(data=body, slice=1, pause_s=pause_s)))


def trickle_head(pause_s: float = 0.05) -> Script:
    return Script(name="trickle_head", steps=(Send(data=head(200, {"x": "y" * 1000}), slice=1, pause_s=pause_s),))


def huge_header(size: int = 300_000) -> Script:
    wire = head(200, {"x-huge": "a" * size, "content-length": "2"}) + b"{}"
    return Script(name="huge_header", steps=(Send(data=wire), Wait(seconds=FOREVER_S)))


def wide_head(headers: int = 60, size: int = 2_000) -> Script:
    """Many headers, none too long, too much together."""
    many = {f"x-{i}": "a" * size for i in range(headers)}
    return Script(name="wide_head", steps=(Send(data=head(200, {**many, "content-length": "2"}) + b"{}"),))


def one_xx_flood(times: int = 20_000) -> Script:
    """Interim answers without end."""
    wire = b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    return Script(name="one_xx_flood", steps=(Send(data=wire * 50, times=times // 50), Wait(seconds=FOREVER_S)))


def early_hints(script: Script) -> Script:
    """Put three interim answers before another script."""
    hints = b"HTTP/1.1 100 Continue\r\n\r\n" * 2 + b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n"
    return Script(name=f"early_hints {script.name}", steps=(Send(data=hints), *script.steps), ending=script.ending)


def switching_protocols() -> Script:
    wire = head(101, {"upgrade": "websocket", "connection": "upgrade"})
    return Script(name="switching_protocols", steps=(Send(data=wire), Wait(seconds=FOREVER_S)))


def gzip(body: bytes = b'{"data":[]}') -> Script:
    """A compressed answer nobody asked for; a bomb when ``body`` is long and dull."""
    return reply(200, gzip_module.compress(body), headers={"content-encoding": "gzip"})


def html(status: int = 200) -> Script:
    body = b"<!doctype html><title>Just a moment...</title>"
    return reply(status, body, headers={"content-type": "text/html; charset=utf-8"})


def extra_bytes(extra: bytes, body: bytes = b"{}", *, pause_s: float = 0.0) -> Script:
    """A whole answer, then bytes that belong to nothing, on a connection that stays open."""
    whole = head(200, _headers_of(None, {"content-length": str(len(body))})) + body
    if not pause_s:
        return Script(
            name="extra_bytes", steps=(Send(data=whole[:-1]), Wait(seconds=0.02), Send(data=whole[-1:] + extra))
        )
    return Script(name="extra_bytes", steps=(Send(data=whole), Wait(seconds=pause_s), Send(data=extra)))


def close_after(script: Script, after_s: float = 0.0) -> Script:
    """Say nothing of closing, and close all the same: the peer's kept connection goes stale."""
    return Script(name=f"close_after {script.name}", steps=(*script.steps, Wait(seconds=after_s)), ending=Ending.CLOSE)


def early_reply_without_reading(status: int = 413, body: JsonObject | bytes = b"{}") -> Script:
    """Answer on the head alone and leave the upload unread for a while."""
    answer = reply(status, body, headers={"connection": "close"})
    steps = (*answer.steps, Wait(seconds=2.0))
    return Script(name="early_reply_without_reading", steps=steps, reads=Reads.HEAD, ending=Ending.CLOSE)


def not_reading() -> Script:
    """Accept the head and never read the body."""
    return Script(name="not_reading", steps=(Wait(seconds=FOREVER_S),), reads=Reads.HEAD)
