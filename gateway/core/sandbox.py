"""What a request asks of the sandbox: the directives in its prompt, and the picture, every option resolved.

Rules: a directive is a square bracket anywhere in the prompt; what is not exactly a directive is prompt text. The first
``delay`` and the first ``fail`` count, and none of them is drawn. Must never decide what a failure means: that is
``core/failures.py``, which sees a sandbox answer as it would see any upstream's.
"""

import re
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from gateway.core.types import ErrorBody, Facts

MAX_DELAY_S = 600.0
MIN_EDGE = 16
MAX_EDGE = 3840
MAX_PIXELS = 3840 * 2160
MAX_PICTURES = 10
FORMATS = ("png", "webp", "jpeg", "gif", "svg")
QUALITIES = ("auto", "low", "medium", "high", "xhigh", "max", "standard", "hd")
BACKGROUNDS = ("auto", "opaque", "transparent")

_DIRECTIVE = re.compile(
    r"\[(?:delay +(?P<amount>[0-9]{1,6}(?:\.[0-9]{1,3})?)(?P<unit>ms|s)|fail +(?P<fail>[a-z]+|[45][0-9]{2}))\]"
)
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


class Mishap(StrEnum):
    """The ways to fail that are not a bare status."""

    QUOTA = "quota"
    POLICY = "policy"
    EMPTY = "empty"
    HTML = "html"
    CUT = "cut"
    DROP = "drop"
    HANG = "hang"


_MISHAPS = frozenset(mishap.value for mishap in Mishap)


class Script(Struct, frozen=True, kw_only=True):
    """A prompt taken apart: what to draw, how long to wait first (seconds), and how to fail, if at all."""

    prompt: str
    delay_s: float = 0.0
    fail: int | Mishap | None = None


class Shape(Struct, frozen=True, kw_only=True):
    """The picture that was asked for, every option resolved. ``compression`` is 0..100 (JPEG and WebP quality)."""

    width: int
    height: int
    format: str
    quality: str
    transparent: bool
    compression: int
    n: int

    @property
    def size(self) -> str:
        """``WxH``, as the API writes it."""
        return f"{self.width}x{self.height}"

    @property
    def background(self) -> str:
        """The API's word for it."""
        return "transparent" if self.transparent else "opaque"


def script(prompt: str) -> Script:
    """Take the directives out of a prompt. An unknown word, status or duration leaves its bracket in the text."""
    delays: list[float] = []
    fails: list[int | Mishap] = []

    def take(match: re.Match[str]) -> str:
        word = match["fail"]
        if word is None:
            seconds = float(match["amount"]) / (1000 if match["unit"] == "ms" else 1)
            if seconds > MAX_DELAY_S:
                return match[0]
            delays.append(seconds)
        elif word.isdigit():
            fails.append(int(word))
        elif word in _MISHAPS:
            fails.append(Mishap(word))
        else:
            return match[0]
        return ""

    text = _DIRECTIVE.sub(take, prompt)
    if delays or fails:
        text = re.sub(r" {2,}", " ", text).strip()
    return Script(prompt=text, delay_s=delays[0] if delays else 0.0, fail=fails[0] if fails else None)


def shape(facts: Facts) -> Shape | ErrorBody:
    """Resolve the picture options, or give the words of the 400 that names the parameter."""
    size = _size(facts.size)
    quality, form, background = facts.quality or "auto", facts.output_format or "png", facts.background or "auto"
    compression = 100 if facts.output_compression is None else facts.output_compression
    if size is None:
        return _invalid("size", f"Invalid size '{facts.size}'. It must be 'auto' or WIDTHxHEIGHT, at most 3840x2160.")
    if quality not in QUALITIES:
        return _invalid("quality", _unknown(quality, QUALITIES))
    if form not in FORMATS:
        return _invalid("output_format", _unknown(form, FORMATS))
    if background not in BACKGROUNDS:
        return _invalid("background", _unknown(background, BACKGROUNDS))
    if background == "transparent" and form not in {"png", "webp"}:
        return _invalid("background", f"Transparent background needs output_format png or webp, not '{form}'.")
    if not 1 <= facts.n <= MAX_PICTURES:
        return _invalid("n", f"Invalid value: {facts.n}. 'n' must be between 1 and {MAX_PICTURES}.")
    if not 0 <= compression <= 100:
        return _invalid("output_compression", f"Invalid value: {compression}. It must be between 0 and 100.")
    return Shape(
        width=size[0],
        height=size[1],
        format=form,
        quality={"auto": "medium", "standard": "medium", "hd": "high"}.get(quality, quality),
        transparent=background == "transparent",
        compression=compression,
        n=facts.n,
    )


def _size(text: str | None) -> tuple[int, int] | None:
    if text is None or text == "auto":
        return (1024, 1024)
    match = _SIZE.fullmatch(text)
    if match is None:
        return None
    width, height = int(match[1]), int(match[2])
    fits = min(width, height) >= MIN_EDGE and max(width, height) <= MAX_EDGE and width * height <= MAX_PIXELS
    return (width, height) if fits else None


def _unknown(value: str, known: Iterable[str]) -> str:
    return f"Invalid value: '{value}'. Supported values are: {', '.join(repr(word) for word in known)}."


def _invalid(param: str, message: str) -> ErrorBody:
    return ErrorBody(message=message, type="invalid_request_error", param=param, code="invalid_value")
