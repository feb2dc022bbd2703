"""What the headers of PNG, JPEG, WebP, GIF and SVG pictures say: size and transparency.

Each reader is a generator that asks for the few bytes it needs and names how many to pass over before them, so that
neither a long profile nor the pixels are ever kept. Rules: a size is told only when both sides are whole numbers of
pixels from 1 to 2^31 - 1; what the bytes do not say is ``None``. Must never decode pixels, never parse XML, never
raise for what a picture holds, and take a bounded number of steps whatever it is given.
"""

import re
from collections.abc import Generator
from typing import NamedTuple, TypeAlias

from msgspec import Struct

MAX_SIDE = 2**31 - 1  # PNG's own limit, and more than any other of these formats can say
MAX_STEPS = 2_000  # chunks, segments or blocks before the one that tells; real pictures have a few dozen
SIGNATURE = 12  # bytes that tell the format
SVG_PREFIX = 64 * 1024  # bytes within which an SVG's root element must end

_PNG = b"\x89PNG\r\n\x1a\n"
_PALETTE = 3  # PNG's colour type with an opacity for each colour
_NOT_FRAMES = frozenset({0xC4, 0xC8, 0xCC})  # tables and a reserved marker among JPEG's frame headers
_BARE = frozenset({0x01, *range(0xD0, 0xD8)})  # JPEG markers without a length
_MISC = r"(?:\s++|<\?.*?\?>|<!--.*?-->|<!DOCTYPE[^\[>]*+(?:\[[^\]]*+\]\s*+)?>)*+"
_ROOT = re.compile(
    rf"\ufeff?{_MISC}<(?:[A-Za-z_][\w.-]*+:)?+svg((?:\s(?:[^>\"'<]++|\"[^\"]*+\"|'[^']*+')*+)?+)>|"
    rf"\ufeff?{_MISC}<svg/>",
    re.DOTALL,
)
_ATTRIBUTE = re.compile(r"(?<![\w:.-])([\w:.-]++)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)')")
_LENGTH = re.compile(r"\s*+\+?([0-9]{1,10}(?:\.[0-9]{0,20})?)(?:px)?\s*+")
_SEPARATOR = re.compile(r"[\s,]+")


class Header(Struct, frozen=True, kw_only=True):
    """What is known of a picture. ``format`` is png, jpeg, webp, gif, svg or ``unknown``; sides are pixels."""

    format: str
    width: int | None = None
    height: int | None = None
    alpha: bool | None = None


UNKNOWN = Header(format="unknown")


class Ask(NamedTuple):
    """Pass over ``skip`` bytes, then show the next ``take`` without consuming them.

    ``known`` holds if the picture ends before that, unless ``or_less``: then the reader is shown what there is.
    """

    skip: int
    take: int
    known: Header = UNKNOWN
    or_less: bool = False


Reading: TypeAlias = Generator[Ask, bytes, Header]


def read_header() -> Reading:
    """Read any picture from its first byte on."""
    start = yield Ask(0, SIGNATURE, or_less=True)
    if start.startswith(_PNG):
        return (yield from _png())
    if start.startswith(b"\xff\xd8\xff"):
        return (yield from _jpeg())
    if start.startswith((b"GIF87a", b"GIF89a")):
        return (yield from _gif())
    if start.startswith(b"RIFF") and start[8:] == b"WEBP":
        return (yield from _webp())
    if start.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] in (b"<", b""):
        return _svg((yield Ask(0, SVG_PREFIX, or_less=True)))
    return UNKNOWN


def _sized(kind: str, width: int, height: int, *, alpha: bool | None) -> Header:
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE):
        return Header(format=kind, alpha=alpha)
    return Header(format=kind, width=width, height=height, alpha=alpha)


def _png() -> Reading:
    head = yield Ask(0, 33, Header(format="png"))
    if head[8:16] != b"\0\0\0\x0dIHDR":
        return Header(format="png")
    width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
    if head[25] in (4, 6):
        return _sized("png", width, height, alpha=True)
    untold = _sized("png", width, height, alpha=None)
    skip = 33
    for _ in range(MAX_STEPS):
        chunk = yield Ask(skip, 8, untold)
        if chunk[4:] == b"tRNS" and head[25] == _PALETTE:
            opacities = yield Ask(8, min(int.from_bytes(chunk[:4], "big"), 256), untold)
            return _sized("png", width, height, alpha=any(one < 0xFF for one in opacities))
        if chunk[4:] in (b"tRNS", b"IDAT", b"IEND"):
            return _sized("png", width, height, alpha=chunk[4:] == b"tRNS")
        skip = 12 + int.from_bytes(chunk[:4], "big")
    return untold


def _jpeg() -> Reading:
    untold = Header(format="jpeg", alpha=False)
    skip = 2
    for _ in range(MAX_STEPS):
        marker = yield Ask(skip, 2, untold)
        kind = marker[1]
        if marker[0] != 0xFF or kind in (0x00, 0xD8, 0xD9, 0xDA):
            return untold
        if kind == 0xFF:  # a fill byte
            skip = 1
        elif kind in _BARE:
            skip = 2
        elif 0xC0 <= kind <= 0xCF and kind not in _NOT_FRAMES:
            frame = yield Ask(0, 9, untold)
            sides = int.from_bytes(frame[7:9], "big"), int.from_bytes(frame[5:7], "big")
            return _sized("jpeg", *sides, alpha=False)
        else:
            length = yield Ask(2, 2, untold)
            skip = max(2, int.from_bytes(length, "big"))
    return untold


def _gif() -> Reading:
    head = yield Ask(0, 13, Header(format="gif"))
    width, height = int.from_bytes(head[6:8], "little"), int.from_bytes(head[8:10], "little")
    untold = _sized("gif", width, height, alpha=None)
    skip = 13 + (3 << (head[10] % 8 + 1) if head[10] & 0x80 else 0)
    take = 4  # a block's first bytes: its kind, an extension's label, the first length, the control's flags
    for _ in range(MAX_STEPS):
        block = yield Ask(skip, take, untold)
        if take == 1:  # within an extension: the length of its next part
            skip, take = 1 + block[0], 1 if block[0] else 4
        elif block[:2] == b"\x21\xf9":
            return _sized("gif", width, height, alpha=bool(block[3] & 1))
        elif block[0] == 0x21:
            skip, take = 2, 1
        else:
            return _sized("gif", width, height, alpha=False) if block[0] == 0x2C else untold
    return untold


def _webp() -> Reading:
    chunk = yield Ask(12, 4, Header(format="webp"))
    if chunk == b"VP8X":
        head = yield Ask(8, 10, Header(format="webp"))
        sides = (int.from_bytes(head[at : at + 3], "little") + 1 for at in (4, 7))
        return _sized("webp", *sides, alpha=bool(head[0] & 0x10))
    if chunk == b"VP8L":
        head = yield Ask(8, 5, Header(format="webp"))
        bits = int.from_bytes(head[1:], "little")
        if head[0] == 0x2F:
            return _sized("webp", bits % 2**14 + 1, (bits >> 14) % 2**14 + 1, alpha=bool(bits >> 28 & 1))
    if chunk == b"VP8 ":
        head = yield Ask(8, 10, Header(format="webp", alpha=False))
        if not head[0] & 1 and head[3:6] == b"\x9d\x01\x2a":
            sides = (int.from_bytes(head[at : at + 2], "little") % 2**14 for at in (6, 8))
            return _sized("webp", *sides, alpha=False)
    return Header(format="webp")


def _svg(prefix: bytes) -> Header:
    root = _ROOT.match(prefix.decode("utf-8", "ignore"))
    if root is None:
        return UNKNOWN
    told = {name: first or second for name, first, second in _ATTRIBUTE.findall(root[1] or "")}
    box = _SEPARATOR.split(told.get("viewBox", "").strip())
    for sides in ((told.get("width", ""), told.get("height", "")), tuple(box[2:4]) if len(box) == 4 else ()):
        lengths = [_LENGTH.fullmatch(side) for side in sides]
        pixels = [round(float(length[1])) for length in lengths if length is not None]
        if len(pixels) == 2 and min(pixels) > 0:
            return _sized("svg", *pixels, alpha=None)
    return Header(format="svg")
