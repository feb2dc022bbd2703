"""What an images request asks for: its fields and its pictures as ``Facts``, its prompt as a hash and a length.

Rules: a stored file is refused, since it is not built; an address is taken only as https or as inline
data. No field of a body names where a request goes or on whose account: those that look like it travel as they came.
"""

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.fields import MAX_PICTURES, Fields, bad_value, missing, unsupported, with_options, wrong_type
from gateway.core.keyed import Keyed
from gateway.core.redact import prompt_hash
from gateway.core.types import Facts, ImageFacts, InputFacts, InputRole, JsonObject, JsonValue, Refusal, Surface

INLINE = "data:"
MAX_END_USER = 1_000  # characters
_MAX_ADDRESS = 8_192  # characters of an https address

InlineFacts = Callable[[str], ImageFacts | None]
"""Gives the facts of an inline picture, from its text as it stands in the parsed document."""


class Asked(Struct, frozen=True, kw_only=True):
    """A request that was understood."""

    facts: Facts
    prompt: str


class Pictures(Struct, frozen=True, kw_only=True):
    """The pictures that came with a request."""

    images: tuple[InputFacts, ...] = ()
    mask: InputFacts | None = None
    markup: InputFacts | None = None


class Privacy(Struct, frozen=True, kw_only=True):
    """How prompts and end users reach the facts: as keyed hashes; the prompt as text too when ``keep_text``."""

    key: Keyed
    keep_text: bool

    def marked(self, facts: Facts, prompt: str, end_user: str | None) -> Facts:
        """Give ``facts`` with the marks of a prompt and an end user; an empty one leaves none."""
        return replace(
            facts,
            prompt_hash=prompt_hash(self.key, prompt) if prompt else None,
            prompt_chars=len(prompt),
            prompt_text=prompt if self.keep_text and prompt else None,
            end_user_hash=prompt_hash(self.key, end_user) if end_user else None,
        )


def read_images(surface: Surface, fields: Fields, pictures: Pictures, privacy: Privacy) -> Asked | Refusal:
    """Understand the fields of an images request; its pictures are known already."""
    prompt = fields.required_text("prompt")
    facts = Facts(
        surface=surface,
        asked_model=fields.model(),
        n=fields.integer("n", 1, MAX_PICTURES) or 1,
        inputs=pictures.images,
        mask=pictures.mask,
        markup=pictures.markup,
    )
    facts = replace(with_options(facts, fields), stream=fields.flag("stream"), unknown_parameters=fields.unknown())
    user = end_user(fields)
    return fields.refusal or Asked(facts=privacy.marked(facts, prompt, user), prompt=prompt)


def end_user(fields: Fields) -> str | None:
    """Give the end user's name; a ``safety_identifier`` that is not empty wins over the older ``user``."""
    user = fields.text("user", longest=MAX_END_USER)
    return fields.text("safety_identifier", longest=MAX_END_USER) or user


def read_pictures(fields: Fields, inline: InlineFacts) -> Pictures:
    """Read ``images`` and ``mask`` of a JSON edit; what is wrong is refused on ``fields``."""
    found = [
        _picture(fields, item, f"images[{index}]", InputRole.IMAGE, inline)
        for index, item in enumerate(fields.objects("images"))
    ]
    if not found:
        fields.refuse(missing("images"))
    mask = fields.value("mask")
    return Pictures(
        images=tuple(picture for picture in found if picture is not None),
        mask=read_mask(fields, mask, "mask", inline),
    )


def read_mask(fields: Fields, value: JsonValue, path: str, inline: InlineFacts) -> InputFacts | None:
    """Read an object that gives a mask; absent is none."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        fields.refuse(wrong_type(path, "an object", value))
        return None
    return _picture(fields, value, path, InputRole.MASK, inline)


def _picture(fields: Fields, item: JsonObject, path: str, role: InputRole, inline: InlineFacts) -> InputFacts | None:
    address = item.get("image_url")
    if item.get("file_id") is not None:
        fields.refuse(unsupported_file(f"{path}.file_id"))
    elif address is None:
        fields.refuse(missing(f"{path}.image_url"))
    elif not isinstance(address, str):
        fields.refuse(wrong_type(f"{path}.image_url", "a string", address))
    elif not is_inline(address) and not is_https(address):
        fields.refuse(bad_value(f"{path}.image_url", "must be an https address or a data URL of a picture."))
    else:
        return given(address, role, inline)
    return None


def is_inline(address: str) -> bool:
    """Whether an address carries the picture itself."""
    return address[: len(INLINE)].lower() == INLINE


def is_https(address: str) -> bool:
    """Whether an address is one that an upstream may fetch."""
    return address[:8].lower() == "https://" and len(address) <= _MAX_ADDRESS


def given(address: str, role: InputRole, inline: InlineFacts) -> InputFacts:
    """Give the facts of a picture by its address."""
    if is_inline(address):
        return InputFacts(role=role, source="data_url", image=inline(address))
    return InputFacts(role=role, source="url")


def unsupported_file(path: str) -> Refusal:
    """Refuse a picture by the id of a stored file."""
    return unsupported(path, "This version of the gateway does not support stored files.")


def items(value: JsonValue) -> Sequence[JsonValue]:
    """Give the members of an array, of anything else none."""
    return value if isinstance(value, Sequence) and not isinstance(value, str) else ()
