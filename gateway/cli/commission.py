"""One request for pictures, as a command makes it: the options, and the bytes they become on each surface.

Rules: an option that was not given is not sent, so that the gateway and its upstreams choose. The same commission
gives the same bytes each time, also as a form, so that a request that is sent again is known as the same one. Nothing
of the user's machine but the named files goes out, and of their paths only the last word.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import orjson
from msgspec import Struct, field

from gateway.cli.client import Letter
from gateway.core.image_headers import Header
from gateway.core.images import Sniffer
from gateway.core.types import ImageFacts, JsonObject, JsonValue, Surface

_TYPES: Mapping[str, str] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
_END = b"\r\n"


class Given(Struct, frozen=True, kw_only=True):
    """A picture that goes along: its name without its path, and its bytes."""

    name: str
    data: bytes

    @property
    def content_type(self) -> str:
        """What its first bytes say it is."""
        return _TYPES.get(header_of(self.data).format, "application/octet-stream")


class Commission(Struct, frozen=True, kw_only=True):
    """What is asked for. ``more``: fields that go along as they are, in an images body or in the image tool."""

    surface: Surface
    prompt: str
    model: str | None = None
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    n: int = 1
    images: tuple[Given, ...] = ()
    mask: Given | None = None
    partial_images: int | None = None
    stream: bool = False
    more: Mapping[str, JsonValue] = field(default_factory=dict)

    @property
    def options(self) -> dict[str, JsonValue]:
        """The options that were given, by their names in a body."""
        named: dict[str, JsonValue] = {
            "size": self.size,
            "quality": self.quality,
            "background": self.background,
            "output_format": self.output_format,
            "output_compression": self.output_compression,
            "partial_images": self.partial_images if self.stream else None,
            **self.more,
        }
        return {name: value for name, value in named.items() if value is not None}

    def letter(self, base: str, headers: Mapping[str, str]) -> Letter:
        """Write the request to the gateway at ``base``."""
        if self.surface is Surface.EDITS:
            content_type, body = self._form()
        else:
            document = self._turn() if self.surface is Surface.RESPONSES else self._generation()
            content_type, body = "application/json", orjson.dumps(document)
        accept = "text/event-stream" if self.stream else "application/json"
        sent = {"content-type": content_type, "accept": f"{accept}, application/json;q=0.9", **headers}
        return Letter(method="POST", url=f"{base}/v1/{self.surface}", headers=sent, body=body)

    def _generation(self) -> JsonObject:
        return {**self._head(), "prompt": self.prompt, **self.options}

    def _head(self) -> dict[str, JsonValue]:
        head: dict[str, JsonValue] = {} if self.model is None else {"model": self.model}
        if self.n != 1:
            head["n"] = self.n
        if self.stream:
            head["stream"] = True
        return head

    def _turn(self) -> JsonObject:
        """Ask a text model, which is told to draw."""
        content: list[JsonValue] = [{"type": "input_text", "text": self.prompt}]
        content += [{"type": "input_image", "image_url": _data_url(one)} for one in self.images]
        tool: dict[str, JsonValue] = {"type": "image_generation", **self.options}
        if self.mask is not None:
            tool["input_image_mask"] = {"image_url": _data_url(self.mask)}
        return {
            **self._head(),
            "input": [{"role": "user", "content": content}],
            "tools": [tool],
            "tool_choice": {"type": "image_generation"},
        }

    def _form(self) -> tuple[str, bytes]:
        fields: dict[str, JsonValue] = {**self._head(), "prompt": self.prompt, **self.options}
        parts = [_text_part(name, value) for name, value in fields.items()]
        name = "image[]" if len(self.images) > 1 else "image"
        parts += [_file_part(name, one) for one in self.images]
        parts += [] if self.mask is None else [_file_part("mask", self.mask)]
        boundary = hashlib.sha256(b"".join(parts)).hexdigest()[:32].encode()
        lines = [b"--" + boundary + _END + part + _END for part in parts]
        body = b"".join([*lines, b"--" + boundary + b"--" + _END])
        return f"multipart/form-data; boundary={boundary.decode()}", body


def read_given(path: Path) -> Given:
    """Read a picture that goes along. Raises ``OSError``."""
    return Given(name=path.name, data=path.read_bytes())


def header_of(data: bytes) -> Header:
    """Read a picture's header."""
    sniffer = Sniffer()
    sniffer.feed(data)
    return sniffer.facts()


def facts_of(data: bytes) -> ImageFacts:
    """Say what a picture's bytes say of it."""
    header = header_of(data)
    return ImageFacts(
        sha256=hashlib.sha256(data).hexdigest(),
        bytes=len(data),
        format=header.format,
        width=header.width,
        height=header.height,
        alpha=header.alpha,
    )


def more_fields(words: Sequence[str]) -> Mapping[str, JsonValue]:
    """Read ``NAME=VALUE`` words; a value that is JSON is taken as such. Raises ``ValueError`` with a sentence."""
    found: dict[str, JsonValue] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not (equals and name.isidentifier()):
            raise ValueError(f"takes NAME=VALUE, not {word!r}")
        try:
            found[name] = orjson.loads(text)
        except orjson.JSONDecodeError:
            found[name] = text
    return found


def _data_url(given: Given) -> str:
    return f"data:{given.content_type};base64,{base64.b64encode(given.data).decode()}"


def _text_part(name: str, value: JsonValue) -> bytes:
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return f'content-disposition: form-data; name="{name}"\r\n\r\n{text}'.encode()


def _file_part(name: str, given: Given) -> bytes:
    told = "".join("_" if char in '"\\' or not char.isprintable() else char for char in given.name)
    head = f'content-disposition: form-data; name="{name}"; filename="{told}"\r\ncontent-type: {given.content_type}'
    return head.encode() + _END + _END + given.data
