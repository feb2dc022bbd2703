"""An edit as a multipart form: the form is read and kept in one pass, then understood."""

from msgspec.structs import replace

from gateway.core.fields import Fields, missing, typed
from gateway.core.types import BodyMap, Refusal, Surface
from gateway.intake.content_type import BodyKind
from gateway.intake.facts import Asked, Pictures, Privacy, read_images
from gateway.intake.form import FormReader
from gateway.intake.incoming import LARGE_SLICE
from gateway.spool import SpooledBody


class FormSink:
    """Keeps a form as it came and reads it as it passes."""

    slice = LARGE_SLICE
    is_slow = False  # its texts are bounded, its pictures are understood

    def __init__(self, kind: BodyKind, body: SpooledBody) -> None:
        self._kind = kind
        self._body = body
        self._reader = FormReader(kind.boundary or "")

    def feed(self, piece: bytes) -> Refusal | None:
        """Take the next bytes. Raises ``SpoolFull``."""
        self._body.append(piece)
        return self._reader.feed(piece)

    def understand(self, surface: Surface, privacy: Privacy) -> tuple[Asked, BodyMap] | Refusal:
        """Say what the whole form asks, and where its model stands."""
        form = self._reader.finish()
        if isinstance(form, Refusal):
            return form
        fields = Fields(typed(form.texts))
        pictures = Pictures(images=form.images, mask=form.mask, markup=form.markup)
        asked = read_images(surface, fields, pictures, privacy)
        if isinstance(asked, Refusal):
            return asked
        if not pictures.images:
            return missing("image")
        body_map = BodyMap(
            content_type=self._kind.content_type,
            length=self._body.length,
            model=form.model,
            insert_at=form.insert_at,
            boundary=self._kind.boundary,
            fields=form.fields,
            digest=form.digest,
        )
        return replace(asked, facts=replace(asked.facts, unknown_parameters=form.unknown)), body_map
