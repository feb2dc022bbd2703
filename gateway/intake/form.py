"""A multipart form, read as its bytes pass: texts collected, pictures measured, the raw body left as it came.

Rules: bounded in parts, headers and text, whatever the body's size; every field we act on stands once; nothing before
the first boundary but line ends, and no boundary where the parser saw none, so that no other parser reads another form.
Must never keep a picture's bytes and never take a nested form apart.
"""

import hashlib
import logging
from collections.abc import Mapping

from msgspec import Struct
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser

from gateway.core.fields import bad_value, unknown_names
from gateway.core.jsontext import OPTIONS
from gateway.core.picture import PictureMeter
from gateway.core.types import FieldPlace, ImageFacts, InputFacts, InputRole, Refusal
from gateway.intake.delimiters import Delimiters
from gateway.intake.parts import MAX_HEAD, PartHead, malformed, read_head

MAX_PARTS = 100
MAX_HEADS = 16 * 1024  # bytes of all parts' headers
MAX_TEXT = 1_000_000  # bytes of all texts
MAX_LEADING = 16  # line ends before the first boundary

_ONCE = frozenset(
    {
        *("model", "prompt", "n", "size", "quality", "background", "output_format", "output_compression"),
        *("moderation", "input_fidelity", "partial_images", "stream", "user", "safety_identifier"),
        *("complexity", "frame_count", "frame_duration_ms", "response_format", "style"),
    }
)
_LINE_ENDS = b"\r\n"


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
    """The part that is passing by."""

    __slots__ = ("digest", "head", "head_bytes", "header_name", "header_value", "headers", "picture", "start", "text")

    def __init__(self) -> None:
        self.header_name = bytearray()
        self.header_value = bytearray()
        self.headers: list[tuple[bytes, bytes]] = []
        self.head: PartHead | None = None
        self.head_bytes = 0
        self.picture: PictureMeter | None = None
        self.text = bytearray()
        self.digest = hashlib.sha256()  # of what is no picture
        self.start: int | None = None  # of its value, in the whole body


class FormReader:
    """Takes a form slice by slice, then gives it."""

    def __init__(self, boundary: str) -> None:
        self._parser = MultipartParser(
            boundary.encode("ascii"),
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end,
                "on_end": self._close,
            },
            max_header_size=MAX_HEAD,
        )
        # What is wrong is told to the caller; a log line for each bad form would be the caller's to write.
        self._parser.logger = logging.Logger("form", logging.CRITICAL + 1)  # noqa: LOG001 (belongs to this form alone)
        self._refusal: Refusal | None = None
        self._delimiters = Delimiters(boundary.encode("ascii"), MAX_PARTS + 2)  # the parser must agree with them
        self._piece = b""
        self._offset = 0  # of the slice being parsed, in the whole body
        self._insert_at = 0
        self._begun = False
        self._closed = False
        self._parts = 0
        self._head_bytes = 0
        self._text_bytes = 0
        self._part = _Part()
        self._digest = hashlib.sha256()
        self._texts: dict[str, str] = {}
        self._pictures: dict[InputRole, list[InputFacts]] = {role: [] for role in InputRole}
        self._values: dict[str, tuple[int, int]] = {}  # byte ranges of texts
        self._part_of: dict[str, int] = {}  # name -> the number of its part

    def feed(self, piece: bytes) -> Refusal | None:
        """Take the next bytes (at most a slice: what is refused is told after the whole of it was parsed)."""
        refusal = self._look_for_delimiters(piece)
        if refusal is not None:
            return refusal
        self._piece = piece if self._begun else piece.lstrip(_LINE_ENDS)
        skipped = len(piece) - len(self._piece)
        self._insert_at += skipped
        self._offset += skipped
        self._begun = self._begun or self._piece != b""
        if self._insert_at > MAX_LEADING:
            return malformed("it must begin with its boundary.")
        try:
            self._parser.write(self._piece)
        except FormParserError:
            return self._refusal or malformed("it cannot be read.")
        self._offset += len(self._piece)
        return self._refusal

    def _look_for_delimiters(self, piece: bytes) -> Refusal | None:
        """Count them before the parser, which is slow where there are many, or blanks after them."""
        self._delimiters.feed(piece)
        if len(self._delimiters.starts) > MAX_PARTS + 1:
            return malformed(f"it may have at most {MAX_PARTS} parts.")
        return malformed("nothing may follow a boundary on its line.") if self._delimiters.is_blank_after else None

    def finish(self) -> Form | Refusal:
        """Give the form, whole."""
        if not self._closed:
            return malformed("it ends before its closing boundary.")
        if len(self._delimiters.starts) != self._parts + 1:
            return malformed("its boundary stands where no part begins or ends.")
        masks, markups = self._pictures[InputRole.MASK], self._pictures[InputRole.MARKUP]
        return Form(
            texts=self._texts,
            images=tuple(self._pictures[InputRole.IMAGE]),
            mask=masks[0] if masks else None,
            markup=markups[0] if markups else None,
            model=self._values.get("model"),
            insert_at=self._insert_at,
            fields={name: self._place(name) for name in OPTIONS & self._values.keys()},
            unknown=unknown_names(self._part_of),
            digest=self._digest.hexdigest(),
        )

    def _place(self, name: str) -> FieldPlace:
        """Say where a text stands: its part goes from its own boundary to the next."""
        start, end = self._delimiters.starts[self._part_of[name] - 1 : self._part_of[name] + 1]
        return FieldPlace(value=self._values[name], whole=(start, end), follow=end)

    def _refuse(self, refusal: Refusal) -> None:
        self._refusal = self._refusal or refusal

    def _begin(self) -> None:
        self._part = _Part()
        self._parts += 1

    def _count_head(self, size: int) -> None:
        self._part.head_bytes += size
        self._head_bytes += size
        if self._part.head_bytes > MAX_HEAD or self._head_bytes > MAX_HEADS:
            self._refuse(malformed("the headers of its parts are too long."))

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header_name += data[start:end]
        self._count_head(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._part.header_value += data[start:end]
        self._count_head(end - start)

    def _header_end(self) -> None:
        part = self._part
        part.headers.append((bytes(part.header_name), bytes(part.header_value)))
        self._sum(bytes(part.header_name), bytes(part.header_value))
        part.header_name.clear()
        part.header_value.clear()

    def _headers_finished(self) -> None:
        head = read_head(self._part.headers)
        if isinstance(head, Refusal):
            self._refuse(head)
            return
        self._part.head = head
        self._part_of.setdefault("svg" if head.name.startswith("svg[") else head.name, self._parts)
        self._part.picture = PictureMeter() if head.role is not None else None
        if head.name in _ONCE and (head.is_file or head.name in self._texts):
            self._refuse(bad_value(head.name, "must be one text field."))

    def _data(self, data: bytes, start: int, end: int) -> None:
        part = self._part
        if part.start is None:
            # Bytes held back because they looked like a boundary come from the parser's own copy of it.
            part.start = self._offset + start if data is self._piece else self._offset - end
        if part.picture is not None:
            part.picture.feed(data[start:end])
            return
        part.digest.update(data[start:end])
        if part.head is not None and not part.head.is_file:
            self._text_bytes += end - start
            part.text += data[start:end]
            if self._text_bytes > MAX_TEXT:
                self._refuse(malformed(f"its texts may have at most {MAX_TEXT} bytes."))

    def _end(self) -> None:
        head, picture = self._part.head, self._part.picture
        facts = picture.facts() if picture is not None else None
        self._sum(b"end", facts.sha256.encode() if facts is not None else self._part.digest.digest())
        if head is None or self._refusal is not None:
            return
        if head.role is not None and facts is not None:
            self._keep_picture(head.name, head.role, facts)
        elif head.name in _ONCE:
            self._keep_text(head.name)
        elif head.name == "svg" or head.name.startswith("svg["):
            self._texts["svg"] = ""  # that it is there is all that anybody asks

    def _keep_picture(self, name: str, role: InputRole, picture: ImageFacts) -> None:
        if picture.bytes == 0:
            message = f"Invalid value for '{name}': the file is empty."
            self._refuse(Refusal(status=400, code="invalid_image", message=message, param=name))
        elif role is not InputRole.IMAGE and self._pictures[role]:
            self._refuse(bad_value(name, "must be one file."))
        else:
            self._pictures[role].append(InputFacts(role=role, source="upload", image=picture))

    def _keep_text(self, name: str) -> None:
        part = self._part
        try:
            self._texts[name] = part.text.decode("utf-8")
        except UnicodeDecodeError:
            self._refuse(bad_value(name, "must be UTF-8 text."))
            return
        if part.start is not None:
            self._values[name] = (part.start, part.start + len(part.text))

    def _sum(self, *words: bytes) -> None:
        """Add words to the digest, each with its length, so that no two forms read the same."""
        for word in words:
            self._digest.update(b"%d:" % len(word) + word)

    def _close(self) -> None:
        self._closed = True
