"""A multipart form, read as its bytes pass: texts collected, pictures measured, the raw body left as it came.

Rules: bounded in parts, headers and text, whatever the body's size; every field we act on stands once, and what a name
means is nobody's guess. Must never keep a picture's bytes and never take a nested form apart.
"""

import hashlib
from collections.abc import Mapping, Sequence

from msgspec import Struct

from gateway.core.fields import bad_value, unknown_names
from gateway.core.jsontext import OPTIONS
from gateway.core.picture import PictureMeter
from gateway.core.types import FieldPlace, ImageFacts, InputFacts, InputRole, Refusal
from gateway.intake.parts import PartHead, malformed, read_head
from gateway.intake.scanner import Closed, Event, FormScanner, Opened

MAX_TEXT = 1_000_000  # bytes of all texts

_ONCE = frozenset(
    {
        *("model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression"),
        *("moderation", "input_fidelity", "partial_images", "stream", "user", "safety_identifier"),
        *("complexity", "frame_count", "frame_duration_ms", "response_format", "style"),
    }
)


class Form(Struct, frozen=True, kw_only=True):
    """What a form says. ``model`` is the byte range of that field's value, ``insert_at`` where the form begins.

    ``fields``: the places of the options that may be changed. ``unknown``: names that no images request has.
    ``digest``: SHA-256 of heads and contents in order, of pictures by their own hash: a client that sends a form again
    makes a new boundary, and has sent the same.
    """

    texts: Mapping[str, str]
    images: tuple[InputFacts, ...]
    mask: InputFacts | None
    markup: InputFacts | None
    model: tuple[int, int] | None
    insert_at: int
    fields: Mapping[str, FieldPlace]
    unknown: tuple[str, ...]
    digest: str


class _Part:
    """The part that is passing by: a picture, a file that is none, or a text."""

    __slots__ = ("digest", "head", "picture", "start", "text")

    def __init__(self, head: PartHead, start: int) -> None:
        self.head = head
        self.start = start  # of its value, in the whole body
        self.picture = PictureMeter() if head.role is not None else None
        self.text = bytearray()
        self.digest = hashlib.sha256()  # of what is no picture


class FormReader:
    """Takes a form slice by slice, then gives it."""

    def __init__(self, boundary: str) -> None:
        self._scanner = FormScanner(boundary.encode("ascii"))
        self._parts = 0
        self._text_bytes = 0
        self._part: _Part | None = None
        self._digest = hashlib.sha256()
        self._texts: dict[str, str] = {}
        self._pictures: dict[InputRole, list[InputFacts]] = {role: [] for role in InputRole}
        self._values: dict[str, tuple[int, int]] = {}  # byte ranges of texts
        self._part_of: dict[str, int] = {}  # name -> the number of its part
        self._is_drafted = False
        self._is_held = False
        self.reach = 0  # up to here pictures have come, and behind a draft nothing else has

    def feed(self, piece: bytes) -> Refusal | None:
        """Take the next bytes."""
        for event in self._scanner.feed(piece):
            refusal = self._take(event)
            if refusal is not None:
                return refusal
        return None

    def draft(self) -> Form | None:
        """Give what is known in the middle of a picture, its model included; ``None``: it is not that far.

        The picture counts as one that nothing is known of. From here on ``reach`` stops before what is no picture.
        """
        role = None if self._part is None else self._part.head.role
        if role is None or "model" not in self._values:
            return None
        pictures = {**self._pictures, role: [*self._pictures[role], InputFacts(role=role, source="upload")]}
        if not pictures[InputRole.IMAGE]:
            return None
        self._is_drafted = True
        return self._form(pictures)

    def finish(self) -> Form | Refusal:
        """Give the form, whole."""
        if not self._scanner.is_whole:
            return malformed("it ends before its closing boundary.")
        return self._form(self._pictures)

    def _form(self, pictures: Mapping[InputRole, Sequence[InputFacts]]) -> Form:
        masks, markups = pictures[InputRole.MASK], pictures[InputRole.MARKUP]
        return Form(
            texts=self._texts,
            images=tuple(pictures[InputRole.IMAGE]),
            mask=masks[0] if masks else None,
            markup=markups[0] if markups else None,
            model=self._values.get("model"),
            insert_at=self._scanner.insert_at,
            fields={name: self._place(name) for name in OPTIONS & self._values.keys()},
            unknown=unknown_names(self._part_of),
            digest=self._digest.hexdigest(),
        )

    def _place(self, name: str) -> FieldPlace:
        """Say where a text stands: its part goes from its own boundary to the next."""
        start, end = self._scanner.starts[self._part_of[name] - 1 : self._part_of[name] + 1]
        return FieldPlace(value=self._values[name], whole=(start, end), follow=end)

    def _take(self, event: Event) -> Refusal | None:
        if isinstance(event, memoryview):
            return self._data(event)
        if isinstance(event, Opened):
            return self._open(event)
        return self._close() if isinstance(event, Closed) else event

    def _open(self, opened: Opened) -> Refusal | None:
        self._parts += 1
        for name, value in opened.headers:
            self._sum(name, value)
        head = read_head(opened.headers)
        if isinstance(head, Refusal):
            return head
        self._part = _Part(head, opened.start)
        self._is_held = self._is_held or (self._is_drafted and head.role is None)
        if not self._is_held:
            self.reach = opened.start
        self._part_of.setdefault("svg" if head.name.startswith("svg[") else head.name, self._parts)
        if head.name in _ONCE and (head.is_file or head.name in self._texts):
            return bad_value(head.name, "must be one text field.")
        return None

    def _data(self, data: memoryview) -> Refusal | None:
        part = self._part
        if part is None:
            return None
        if part.picture is not None:
            part.picture.feed(data)
            if not self._is_held:
                self.reach += len(data)
            return None
        part.digest.update(data)
        if not part.head.is_file:
            self._text_bytes += len(data)
            part.text += data
        return malformed(f"its texts may have at most {MAX_TEXT} bytes.") if self._text_bytes > MAX_TEXT else None

    def _close(self) -> Refusal | None:
        part, self._part = self._part, None
        if part is None:
            return None
        head, facts = part.head, part.picture.facts() if part.picture is not None else None
        self._sum(b"end", facts.sha256.encode() if facts is not None else part.digest.digest())
        if head.role is not None and facts is not None:
            return self._keep_picture(head.name, head.role, facts)
        if head.name in _ONCE:
            return self._keep_text(part)
        if head.name == "svg" or head.name.startswith("svg["):
            self._texts["svg"] = ""  # that it is there is all that anybody asks
        return None

    def _keep_picture(self, name: str, role: InputRole, picture: ImageFacts) -> Refusal | None:
        if picture.bytes == 0:
            message = f"Invalid value for '{name}': the file is empty."
            return Refusal(status=400, code="invalid_image", message=message, param=name)
        if role is not InputRole.IMAGE and self._pictures[role]:
            return bad_value(name, "must be one file.")
        self._pictures[role].append(InputFacts(role=role, source="upload", image=picture))
        return None

    def _keep_text(self, part: _Part) -> Refusal | None:
        name = part.head.name
        try:
            self._texts[name] = part.text.decode("utf-8")
        except UnicodeDecodeError:
            return bad_value(name, "must be UTF-8 text.")
        self._values[name] = (part.start, part.start + len(part.text))
        return None

    def _sum(self, *words: bytes) -> None:
        """Add words to the digest, each with its length, so that no two forms read the same."""
        for word in words:
            self._digest.update(b"%d:" % len(word) + word)
