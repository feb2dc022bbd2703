"""An edit as a multipart form: the form is read and kept in one pass, then understood."""

from collections.abc import Callable

from msgspec.structs import replace

from gateway.bodies.spool import SpooledBody
from gateway.core.fields import Fields, missing, typed
from gateway.core.types import BodyMap, Refusal, Surface
from gateway.intake.content_type import BodyKind
from gateway.intake.facts import Asked, Pictures, Privacy, read_images
from gateway.intake.form import Form, FormReader
from gateway.intake.incoming import LARGE_SLICE

Look = Callable[[FormReader], None]
"""Is shown a form after each piece of it."""


class FormSink:
    """Keeps a form as it came and reads it as it passes. ``look``: who wants to see it come."""

    slice = LARGE_SLICE
    is_slow = False  # its texts are bounded, its pictures are understood

    def __init__(self, kind: BodyKind, body: SpooledBody, look: Look | None = None) -> None:
        self._kind = kind
        self._body = body
        self._look = look
        self._reader = FormReader(kind.boundary or "")

    def feed(self, piece: bytes) -> Refusal | None:
        """Take the next bytes. Raises ``SpoolFull``."""
        self._body.append(piece)
        refusal = self._reader.feed(piece)
        if self._look is not None and refusal is None:
            self._look(self._reader)
        return refusal

    def understand(self, surface: Surface, privacy: Privacy) -> tuple[Asked, BodyMap] | Refusal:
        """Say what the whole form asks, and where its model stands."""
        form = self._reader.finish()
        if isinstance(form, Refusal):
            return form
        return understood(form, self._kind, self._body.length, surface, privacy)


def understood(
    form: Form, kind: BodyKind, length: int, surface: Surface, privacy: Privacy
) -> tuple[Asked, BodyMap] | Refusal:
    """Say what a form of ``length`` bytes asks, and where its model stands."""
    fields = Fields(typed(form.texts))
    pictures = Pictures(images=form.images, mask=form.mask, markup=form.markup)
    asked = read_images(surface, fields, pictures, privacy)
    if isinstance(asked, Refusal) or not pictures.images:
        return fields.named(asked if isinstance(asked, Refusal) else missing("image"))
    body_map = BodyMap(
        content_type=kind.content_type,
        length=length,
        model=form.model,
        insert_at=form.insert_at,
        boundary=kind.boundary,
        fields=form.fields,
        digest=form.digest,
    )
    return replace(asked, facts=replace(asked.facts, unknown_parameters=form.unknown)), body_map
