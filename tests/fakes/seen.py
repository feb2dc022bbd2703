"""What reached a fake upstream, and everything that was wrong with it.

Bodies are taken as they stream: hashed, counted, kept only up to 1 MB (JSON up to 32 MB while it is being checked),
multipart parsed on the way, so that an 800 MB upload costs no memory.
"""

import hashlib
import json
from dataclasses import dataclass, field
from typing import TypeAlias

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from gateway.core.types import JsonValue

KEPT_BYTES = 1_000_000
_CHECKED_JSON_BYTES = 32_000_000
_KEPT_FIELD_BYTES = 100_000
_KNOWN_PATHS = ("/v1/images/generations", "/v1/images/edits", "/v1/responses")
_MAY_TRAVEL = frozenset(
    {
        *("host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "connection"),
        *("authorization", "openai-beta", "x-client-request-id", "traceparent"),
    }
)

Headers: TypeAlias = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenPart:
    """One part of a multipart body; ``data`` only when it is short."""

    name: str
    filename: str | None
    content_type: str | None
    length: int
    sha256: str
    data: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenRequest:
    """One request as it arrived. ``body`` is empty when it was over 1 MB; ``whole`` says it came to its end."""

    method: str
    path: str
    query: str
    headers: Headers
    script: str = ""
    body: bytes = b""
    sha256: str = ""
    length: int = 0
    parts: tuple[SeenPart, ...] = ()
    whole: bool = False

    def header(self, name: str) -> str | None:
        """Give the only value of a header; ``None`` when it did not come."""
        values = [value for key, value in self.headers if key == name]
        return values[0] if len(values) == 1 else None

    @property
    def json(self) -> JsonValue:
        """The body, parsed."""
        parsed: JsonValue = json.loads(self.body)
        return parsed


def read_head(raw: bytes) -> SeenRequest:
    """Read a request head up to its empty line."""
    first, *lines = raw.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ", 2)
    path, _, query = target.partition("?")
    pairs = tuple((name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    return SeenRequest(method=method, path=path, query=query, headers=pairs)


def head_problems(seen: SeenRequest, *, key: str | None, host: str) -> list[str]:
    """List what must not be in a request head, or is missing."""
    names = [name for name, _ in seen.headers]
    problems = [f"header {name} travelled" for name in names if name not in _MAY_TRAVEL]
    problems += [
        f"header {name} came {names.count(name)} times" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    expected = {"host": host, "accept-encoding": "identity"}
    if key is not None:
        expected["authorization"] = f"Bearer {key}"
    for name, value in expected.items():
        if seen.header(name) != value:
            problems.append(f"header {name} is not the expected one")
    if seen.method != "POST" and not (seen.method in ("GET", "DELETE") and seen.path.startswith("/v1/responses/")):
        problems.append(f"method {seen.method}")
    if not seen.path.startswith(_KNOWN_PATHS):
        problems.append(f"path {seen.path}")
    if seen.method == "POST" and not (seen.header("content-length") or "").isdigit():
        problems.append("no exact content-length")
    if not (seen.header("user-agent") or "").startswith("waybill/"):
        problems.append("user-agent is not ours")
    return problems


@dataclass(slots=True)
class BodyCheck:
    """Takes a body as it comes. ``problems`` and ``parts`` are complete after ``finish``."""

    content_type: str
    problems: list[str] = field(default_factory=list)
    length: int = 0
    _kept: bytearray = field(default_factory=bytearray)
    _hash: "hashlib._Hash" = field(default_factory=hashlib.sha256)
    _multipart: "MultipartCheck | None" = None

    def __post_init__(self) -> None:
        kind, options = parse_options_header(self.content_type)
        if kind == b"multipart/form-data":
            self._multipart = MultipartCheck(options.get(b"boundary", b""))
        elif kind != b"application/json":
            self.problems.append(f"content-type {self.content_type}")

    @property
    def _keep(self) -> int:
        return KEPT_BYTES if self._multipart is not None else _CHECKED_JSON_BYTES

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.length += len(data)
        self._hash.update(data)
        if self.length <= self._keep:
            self._kept += data
        else:
            self._kept.clear()
        if self._multipart is not None:
            self._multipart.feed(data)

    def finish(self) -> tuple[bytes, str, tuple[SeenPart, ...]]:
        """Give the kept body (empty when long), its hash and its parts."""
        parts: tuple[SeenPart, ...] = ()
        if self._multipart is not None:
            self.problems += self._multipart.finish()
            parts = tuple(self._multipart.parts)
        elif self.length <= _CHECKED_JSON_BYTES:
            self._check_json()
        body = bytes(self._kept) if self.length <= KEPT_BYTES else b""
        return body, self._hash.hexdigest(), parts

    def _check_json(self) -> None:
        try:
            parsed = json.loads(bytes(self._kept))
        except ValueError:
            self.problems.append("the body is not JSON")
            return
        if not isinstance(parsed, dict):
            self.problems.append("the body is not a JSON object")


class MultipartCheck:
    """Parses multipart/form-data as it streams by."""

    def __init__(self, boundary: bytes) -> None:
        self.parts: list[SeenPart] = []
        self._problem: str | None = None if boundary else "multipart without a boundary"
        self._ended = False
        self._name = b""
        self._value = b""
        self._headers: dict[bytes, bytes] = {}
        self._start()
        self._parser = python_multipart.MultipartParser(
            boundary or b"none",
            {
                "on_part_begin": self._start,
                "on_header_field": self._take_name,
                "on_header_value": self._take_value,
                "on_header_end": self._end_header,
                "on_part_data": self._take_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, data: bytes) -> None:
        if self._problem is not None:
            return
        try:
            self._parser.write(data)
        except FormParserError as error:
            self._problem = f"multipart: {error}"

    def finish(self) -> list[str]:
        if self._problem is None and not self._ended:
            self._problem = "multipart without an end"
        return [] if self._problem is None else [self._problem]

    def _start(self) -> None:
        self._headers = {}
        self._data = bytearray()
        self._hash = hashlib.sha256()
        self._length = 0

    def _take_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _take_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        self._hash.update(memoryview(data)[start:end])
        self._length += end - start
        if self._length <= _KEPT_FIELD_BYTES:
            self._data += data[start:end]

    def _end_part(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            self._problem = "a part without a name"
            return
        filename = options.get(b"filename")
        content_type = self._headers.get(b"content-type")
        self.parts.append(
            SeenPart(
                name=options[b"name"].decode(),
                filename=None if filename is None else filename.decode(),
                content_type=None if content_type is None else content_type.decode(),
                length=self._length,
                sha256=self._hash.hexdigest(),
                data=bytes(self._data) if self._length <= _KEPT_FIELD_BYTES else b"",
            )
        )

    def _end(self) -> None:
        self._ended = True
