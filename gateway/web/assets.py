"""``GET /assets/{token}``: a kept picture, for whoever has its address.

Rules: the token is all that is asked for, and all that is believed. What is no token, was changed, is over, or opens a
picture that is gone is one and the same 404, after the same work. Bytes are given as what they are, never sniffed and
never run: an SVG is a file to save. One range may be asked for; several are answered with the whole. Nothing is read
ahead of the client.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from datetime import datetime
from typing import Final

from msgspec import Struct
from starlette.types import Receive, Scope, Send

from gateway.core.assets import Asset
from gateway.core.signing import Signer
from gateway.ports import AssetBooks, Blobs, Clock, LedgerUnavailable, StoreUnavailable
from gateway.web.arrival import headers_of
from gateway.web.errors import AssetNotFound, MethodNotAllowed, StoreDown
from gateway.web.stamps import Headers

READS: Final = ("GET", "HEAD")

_RANGE: Final = re.compile(r"bytes=\s*([0-9]{0,18})\s*-\s*([0-9]{0,18})\s*")
_SHOWN: Final = frozenset({"image/png", "image/jpeg", "image/webp", "image/gif"})  # all else is saved, not shown
_POLICY: Final = b"default-src 'none'; style-src 'unsafe-inline'; sandbox"


class Exhibits(Struct, frozen=True, kw_only=True):
    """Where pictures are found and read. ``signer`` gives what opens tokens at this moment."""

    books: AssetBooks
    blobs: Blobs
    signer: Callable[[], Signer]
    clock: Clock


class Span(Struct, frozen=True, kw_only=True):
    """The bytes ``start:end`` of a picture; ``is_part``: they were asked for as such."""

    start: int
    end: int
    is_part: bool = False


class AssetPage(Struct, frozen=True, kw_only=True):
    """The address of pictures."""

    exhibits: Exhibits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call. Raises ``WebError``."""
        if scope["method"] not in READS:
            raise MethodNotAllowed(READS)
        asset, length = await self._find(scope["path_params"]["token"])
        asked = headers_of(scope)
        head = shared_headers(asset, self.exhibits.clock.now())
        if is_known(asked.get("if-none-match"), asset):
            await _end(send, 304, head)
            return
        span = read_range(asked.get("range") if is_same(asked.get("if-range"), asset) else None, length)
        if span is None:
            await _end(send, 416, [*head, (b"content-range", b"bytes */%d" % length), (b"content-length", b"0")])
            return
        head += [*typed_headers(asset), (b"content-length", b"%d" % (span.end - span.start))]
        if span.is_part:
            head.append((b"content-range", b"bytes %d-%d/%d" % (span.start, span.end - 1, length)))
        status = 206 if span.is_part else 200
        if scope["method"] == "HEAD" or span.start == span.end:
            await _end(send, status, head)
            return
        await self._give(asset, span, receive, _Opening(send, status, head))

    async def _find(self, token: str) -> tuple[Asset, int]:
        exhibits = self.exhibits
        try:
            opened = exhibits.signer().open(token, exhibits.clock.now())
            asset = None if opened is None else await exhibits.books.find(opened.asset_id)
            length = None if asset is None else await exhibits.blobs.size(asset.image.sha256)
        except (LedgerUnavailable, StoreUnavailable) as down:
            raise StoreDown from down
        if asset is None or length is None or asset.expires <= exhibits.clock.now():
            raise AssetNotFound
        return asset, length

    async def _give(self, asset: Asset, span: Span, receive: Receive, out: "_Opening") -> None:
        """Send the bytes, piece by piece, while the client is there."""
        pieces = self.exhibits.blobs.read(asset.image.sha256, span.start, span.end)
        try:
            first = await anext(pieces, b"")
        except StoreUnavailable as down:
            raise StoreDown from down
        async with asyncio.TaskGroup() as group:
            gone = group.create_task(_left(receive))
            await _send_all(first, pieces, span.end - span.start, gone, out)
            gone.cancel()


class _Opening(Struct, frozen=True):
    """An answer that has not begun."""

    send: Send
    status: int
    headers: Headers


def read_range(text: str | None, length: int) -> Span | None:
    """Give the bytes that a Range header asks for: all, for none, several or a unit that is not known.

    ``None``: it asks for bytes that there are not.
    """
    match = _RANGE.fullmatch(text) if text is not None else None
    if match is None or not (match[1] or match[2]):
        return Span(start=0, end=length)
    if not match[1]:
        last = min(int(match[2]), length)
        return Span(start=length - last, end=length, is_part=True) if last else None
    start, end = int(match[1]), min(int(match[2] or length) + 1, length)
    if match[2] and int(match[2]) < start:
        return Span(start=0, end=length)  # no range at all
    return Span(start=start, end=end, is_part=True) if start < length else None


def is_known(text: str | None, asset: Asset) -> bool:
    """Whether the client has the picture already, as If-None-Match says."""
    tags = [] if text is None else [tag.strip().removeprefix("W/") for tag in text.split(",")]
    return "*" in tags or etag_of(asset) in tags


def is_same(text: str | None, asset: Asset) -> bool:
    """Whether a range may be given, as If-Range says: bytes never change, but a time proves nothing."""
    return text is None or text.strip() == etag_of(asset)


def etag_of(asset: Asset) -> str:
    """Give the entity tag: the hash of the bytes."""
    return f'"{asset.image.sha256}"'


def shared_headers(asset: Asset, now: datetime) -> Headers:
    """Give what stands on every answer: how long it is good, and that nothing may be made of it but a picture."""
    left_s = max(0, int((asset.expires - now).total_seconds()))
    return [
        (b"etag", etag_of(asset).encode()),
        (b"cache-control", b"private, max-age=%d, immutable" % left_s),
        (b"accept-ranges", b"bytes"),
        (b"x-content-type-options", b"nosniff"),
        (b"content-security-policy", _POLICY),
        (b"referrer-policy", b"no-referrer"),
    ]


def typed_headers(asset: Asset) -> Headers:
    """Give what kind of file it is; what could hold a script is to be saved."""
    kind = "inline" if asset.media_type in _SHOWN else "attachment"
    return [
        (b"content-type", asset.media_type.encode()),
        (b"content-disposition", f'{kind}; filename="{asset.file_name}"'.encode()),
    ]


async def _end(send: Send, status: int, headers: Headers) -> None:
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b""})


async def _send_all(
    first: bytes, pieces: AsyncIterator[bytes], length: int, gone: asyncio.Task[None], out: _Opening
) -> None:
    await out.send({"type": "http.response.start", "status": out.status, "headers": out.headers})
    sent, piece = 0, first
    while piece and not gone.done():
        sent += len(piece)
        await out.send({"type": "http.response.body", "body": piece, "more_body": sent < length})
        try:
            piece = await anext(pieces, b"") if sent < length else b""
        except StoreUnavailable:
            return  # the answer stays short, and its connection closes


async def _left(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
