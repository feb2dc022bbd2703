"""Takes the pictures out of a JSON answer while it passes, and leaves every byte accounted for.

What it knows of JSON is just enough to be sure: in a valid document an unescaped ``"b64_json"`` that is followed by a
colon and a quote can only be a key with a text value, and an unescaped ``"data:`` can only begin a text. All else is
text that goes by. So a document is never parsed as one, and the cost of a picture is one search for its closing quote,
one strict decode, nothing per character.

The rule it keeps: the text pieces, the decoded pieces encoded again and the raw pieces, in order, are exactly the bytes
that came, whatever they were, however they were cut. A payload is decoded only while it is canonical base64; from the
first quantum that is not, it is kept as it came.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Final

import pybase64
from msgspec import Struct

SHORTEST_PAYLOAD: Final = 4  # characters; a shorter value is no base64, and stays text
_LOOK_AHEAD: Final = 64  # characters of a value, or all of it, before it opens: ``data:…;base64,`` may begin it
MOST_PAYLOADS: Final = 512  # what comes after them stays text: each one costs, and no answer has so many
_HOLD: Final = 256  # the longest opening is shorter than this
_OPENING: Final = re.compile(  # the look back comes after the quote, so that the search is one for a literal
    rb'"(?<!\\")(?:(?:b64_json|result|partial_image_b64)"[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"'
    rb'(?:data:[^",\\]{0,40};base64,)?|data:[^",\\]{0,120};base64,)'
)
_REST_OF_STRING: Final = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_ESCAPE: Final = re.compile(rb"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)
_LONGEST_ESCAPE: Final = 6
_NO_BASE64: Final = b"????"
_MARK: Final = "\x00waybill:"


def placeholder(index: int) -> str:
    """Give the text that stands for payload ``index`` in the parsed skeleton."""
    return f"{_MARK}{index}"


def placeholder_json(index: int) -> bytes:
    """Give the same text as it stands, escaped, in the skeleton's bytes."""
    return b"\\u0000waybill:%d" % index


class Text(Struct, frozen=True):
    """Bytes of the document outside any payload."""

    data: bytes


class Opened(Struct, frozen=True):
    """Payload ``index`` begins."""

    index: int


class Decoded(Struct, frozen=True):
    """Bytes of a picture; encoded again they are the characters that came."""

    data: bytes


class Raw(Struct, frozen=True):
    """Characters of a payload, kept as they came."""

    data: bytes


class Seen(Struct, frozen=True):
    """Bytes of a picture whose characters are kept raw: for its facts only."""

    data: bytes


class Closed(Struct, frozen=True):
    """The payload ended. ``whole``: all of it was base64, so that its facts are those of a picture."""

    whole: bool


Piece = Text | Opened | Decoded | Raw | Seen | Closed


class _Base64:
    """Canonical base64 in pieces; ``broken`` from the first quantum that is none at all.

    ``loose``: bytes of a last quantum that decodes, but would be encoded otherwise: the picture is whole, and its
    characters are kept raw.
    """

    __slots__ = ("_carry", "_ended", "broken", "loose")

    def __init__(self) -> None:
        self._carry = b""
        self._ended = False  # padding was seen: nothing may follow
        self.broken = False
        self.loose = b""

    @property
    def open_characters(self) -> bytes:
        """The characters of the quantum that is not complete yet."""
        return self._carry

    def feed(self, characters: memoryview) -> tuple[bytes, bytes | memoryview]:
        """Give what decodes, and the characters that do not (empty while all do)."""
        decoded = b""
        if self._carry:
            need = 4 - len(self._carry)
            head = self._carry + characters[:need]
            if len(head) < 4:
                self._carry = head
                return b"", b""
            self._carry = b""
            first = self._decode(head)
            if first is None:
                return b"", head + characters[need:]
            decoded, characters = first, characters[need:]
        cut = len(characters) & ~3
        whole = self._decode(characters[:cut]) if cut else b""
        if whole is None:
            return decoded, characters
        self._carry = bytes(characters[cut:])
        return (decoded + whole if decoded else whole), b""

    def _decode(self, quanta: bytes | memoryview) -> bytes | None:
        try:
            decoded = None if self._ended else pybase64.b64decode(quanta, validate=True)
        except ValueError:
            decoded = None
        if decoded is not None and quanta[-1] == 0x3D:
            self._ended = True
            if pybase64.b64encode(decoded[-(len(decoded) % 3) :]) != bytes(quanta[-4:]):
                self.loose = decoded
                return None
        self.broken = decoded is None
        return decoded

    def finish(self) -> bytes | None:
        """Say that nothing more comes: gives the bytes of a last quantum that lacks its padding, else ``None``."""
        if self.broken or not self._carry:
            return None if self.broken else b""
        try:
            return pybase64.b64decode(self._carry + b"=" * (-len(self._carry) % 4), validate=True)
        except ValueError:
            return None


class _Unescaped:
    """Reads escaped characters of a raw payload, for the facts of its picture."""

    __slots__ = ("_base64", "_tail")

    def __init__(self, base64: _Base64) -> None:
        self._base64 = base64
        self._tail = b""

    def feed(self, characters: bytes, *, last: bool = False) -> bytes:
        if self._base64.broken:
            return b""
        text = self._tail + characters
        cut = len(text)
        at = text.rfind(b"\\", max(0, cut - _LONGEST_ESCAPE))
        if at >= 0 and not last and not self._is_complete(text, at):
            cut = at
        self._tail = text[cut:]
        decoded, _ = self._base64.feed(memoryview(_unescape(text[:cut])))
        return decoded

    @staticmethod
    def _is_complete(text: bytes, at: int) -> bool:
        if _ends_escaping(text[:at]):
            return True  # the second half of an escaped backslash
        rest = text[at + 1 :]
        return len(rest) >= 5 if rest[:1] == b"u" else bool(rest)


def _ends_escaping(text: bytes) -> bool:
    """Whether the last byte is a backslash that escapes what follows."""
    return (len(text) - len(text.rstrip(b"\\"))) % 2 == 1


def _unescape(text: bytes) -> bytes:
    if b"\\\\" in text or b'\\"' in text:
        return _NO_BASE64  # whatever else it holds
    text = text.replace(b"\\/", b"/").replace(b"\\n", b"").replace(b"\\r", b"")
    return _ESCAPE.sub(_plain, text) if b"\\" in text else text


def _plain(escape: re.Match[bytes]) -> bytes:
    if escape[1] is not None:
        code = int(escape[1], 16)
        return bytes([code]) if code < 128 else b"?"
    return b"" if escape[2] == b"t" else b"?"


class Taken(Struct, frozen=True):
    """A payload of an answer that is here whole: its characters are ``start:end``, ``data`` what they decode to."""

    start: int
    end: int
    data: bytes


def take_apart(answer: bytes) -> list[Taken] | None:
    """Find the payloads of a whole answer in one go, the same that ``Extractor`` finds in pieces of it.

    ``None``: one of them is not canonical base64 to its closing quote, or there are too many.
    """
    found: list[Taken] = []
    at = 0
    while (opening := _OPENING.search(answer, at)) is not None:
        start = at = opening.end()
        end = answer.find(b'"', start)
        if 0 <= end < start + SHORTEST_PAYLOAD:
            continue
        data = _canonical(answer[start:end]) if end >= 0 else None
        if data is None or len(found) == MOST_PAYLOADS:
            return None
        found.append(Taken(start, end, data))
        at = end
    return found


def _canonical(characters: bytes) -> bytes | None:
    """Decode what would be encoded in the same way again."""
    try:
        data = pybase64.b64decode(characters, validate=True)
    except ValueError:
        return None
    padded = len(data) % 3
    return data if not padded or characters.endswith(pybase64.b64encode(data[-padded:])) else None


class Extractor:
    """Feed it an answer in any pieces; it gives the same answer as ``Piece``s."""

    def __init__(self) -> None:
        self._window = b""  # text not given yet, after ``_known`` bytes that were
        self._known = 0
        self._index = -1
        self._base64: _Base64 | None = None
        self._raw: _Unescaped | None = None
        self._escaped = False  # the last raw character was a lone backslash

    def feed(self, chunk: bytes) -> list[Piece]:
        """Take the next bytes."""
        pieces: list[Piece] = []
        rest: bytes = chunk
        while rest:
            rest = self._payload(rest, pieces) if self._base64 else self._text(rest, pieces)
        return pieces

    def finish(self) -> list[Piece]:
        """Say that nothing more comes; what was held back is given."""
        pieces: list[Piece] = []
        if self._base64 is not None:
            self._close(pieces, cut=True)
        if held := self._window[self._known :]:
            pieces.append(Text(held))
        self._window, self._known = b"", 0
        return pieces

    def _text(self, chunk: bytes, pieces: list[Piece]) -> bytes:
        """Let text go by until a payload opens; gives what is left of the chunk."""
        window = self._window + chunk if self._window else chunk
        at = self._known if self._index < MOST_PAYLOADS - 1 else len(window)
        while (opening := _OPENING.search(window, at)) is not None:
            start = opening.end()
            if len(window) < start + _LOOK_AHEAD and window.find(b'"', start) < 0:
                return self._wait(window, opening.start(), pieces)
            if window.find(b'"', start, start + SHORTEST_PAYLOAD) < 0:
                self._give(window[self._known : start], pieces)
                self._open(pieces)
                self._window, self._known = b"", 0
                return window[start:]
            at = start
        return self._wait(window, max(self._known, at, len(window) - _HOLD), pieces)

    def _wait(self, window: bytes, keep_from: int, pieces: list[Piece]) -> bytes:
        """Give the text before ``keep_from``; keep the rest, and one byte before it to look back at."""
        self._give(window[self._known : keep_from], pieces)
        context = max(0, keep_from - 1)
        self._window, self._known = window[context:], keep_from - context
        return b""

    @staticmethod
    def _give(text: bytes, pieces: list[Piece]) -> None:
        if text:
            pieces.append(Text(text))

    def _open(self, pieces: list[Piece]) -> None:
        self._index += 1
        self._base64, self._raw, self._escaped = _Base64(), None, False
        pieces.append(Opened(self._index))

    def _payload(self, chunk: bytes, pieces: list[Piece]) -> bytes:
        """Take characters of the open payload; gives what is left of the chunk after its closing quote."""
        if self._raw is not None:
            return self._raw_payload(chunk, pieces)
        assert self._base64 is not None  # noqa: S101 - the caller's condition, for the type checker
        end = chunk.find(b'"')
        stop = end if end >= 0 else len(chunk)
        escape = chunk.find(b"\\", 0, stop)
        cut = escape if escape >= 0 else stop
        decoded, odd = self._base64.feed(memoryview(chunk)[:cut])
        if decoded:
            pieces.append(Decoded(decoded))
        if len(odd) or escape >= 0:
            return self._turn_raw(bytes(odd), chunk[cut:], pieces)
        if end < 0:
            return b""
        self._close(pieces)
        return chunk[end:]

    def _turn_raw(self, odd: bytes, rest: bytes, pieces: list[Piece]) -> bytes:
        """Keep the payload as it comes from here on, beginning with the quantum that is not complete or not strict."""
        assert self._base64 is not None  # noqa: S101 - as above
        begun = self._base64.open_characters
        self._raw = _Unescaped(self._base64)
        if kept := odd or begun:
            pieces.append(Raw(kept))
        if self._base64.loose:
            pieces.append(Seen(self._base64.loose))
        return rest

    def _raw_payload(self, chunk: bytes, pieces: list[Piece]) -> bytes:
        end = self._closing_quote(chunk)
        ended = end < len(chunk)
        text = chunk[:end]
        if text:
            pieces.append(Raw(text))
        assert self._raw is not None  # noqa: S101 - as above
        if seen := self._raw.feed(text, last=ended):
            pieces.append(Seen(seen))
        if not ended:
            return b""
        self._close(pieces)
        return chunk[end:]

    def _closing_quote(self, chunk: bytes) -> int:
        """Find the end of the open string; remember a backslash that escapes the first byte of the next chunk."""
        start = 1 if self._escaped else 0
        end = chunk.find(b'"', start)
        if end >= 0 and _ends_escaping(chunk[start:end]):  # rare, and then perhaps in thousands
            match = _REST_OF_STRING.match(chunk, start)
            end = chunk.find(b'"', match.end() if match else start)
        if end < 0:
            self._escaped = _ends_escaping(chunk[start:])
            return len(chunk)
        return end

    def _close(self, pieces: list[Piece], *, cut: bool = False) -> None:
        assert self._base64 is not None  # noqa: S101 - as above
        if self._raw is None and self._base64.open_characters:
            pieces.append(Raw(self._base64.open_characters))
        tail = None if cut else self._base64.finish()
        if tail:
            pieces.append(Seen(tail))
        pieces.append(Closed(tail is not None))
        self._base64, self._raw, self._escaped = None, None, False


def joined(pieces: Iterable[Piece]) -> Iterator[bytes]:
    """Give back the bytes that came, from the pieces of one answer: the definition of what the pieces mean."""
    decoded = b""
    for piece in pieces:
        if isinstance(piece, Decoded):
            decoded += piece.data
        elif isinstance(piece, (Text, Raw, Closed)):
            yield pybase64.b64encode(decoded)
            decoded = b""
            if not isinstance(piece, Closed):
                yield piece.data
