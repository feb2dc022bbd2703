"""What was seen of an exchange with an upstream, and what was understood of its answer, as frozen values.

No verdict is passed here: ``failures`` classifies what these say.
"""

from collections.abc import Mapping

from msgspec import Struct, field

from gateway.core.types import Cause, ErrorBody, ImageFacts, JsonObject, Phase


class AnswerFacts(Struct, frozen=True, kw_only=True):
    """A whole answer as ``extract`` saw it pass.

    ``document`` is the JSON skeleton (each long payload replaced by ``extract.placeholder(i)``), or ``None`` when
    the body was not one JSON object. ``pictures[i]`` are the facts of payload ``i``; ``None`` when it was no base64.
    """

    bytes: int
    document: JsonObject | None
    pictures: tuple[ImageFacts | None, ...] = ()


class StreamFacts(Struct, frozen=True, kw_only=True):
    """How far an answer that is a stream of events got.

    ``has_content``: an event came that fallback must not follow. ``is_ended``: the event came that ends this surface's
    streams. ``partial_images``: previews that came.
    """

    has_content: bool
    is_ended: bool
    partial_images: int = 0


class Observation(Struct, frozen=True, kw_only=True):
    """What was seen of one exchange: phase, cause if it broke, and the answer as far as it came.

    ``headers`` have lower-case names. ``elapsed_s`` counts from the first attempt to send until the end. ``stream`` is
    there when the answer was a stream of events; then there is no ``answer``.
    """

    phase: Phase
    elapsed_s: float
    cause: Cause | None = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    answer: AnswerFacts | None = None
    stream: StreamFacts | None = None


class Reading(Struct, frozen=True, kw_only=True):
    """What a codec understood of a whole answer; no verdict yet.

    ``shaped``: the document has the surface's shape (``data`` list; a ``response`` object). ``error``: an error
    envelope, wherever the upstream put it. ``item_error``: a failed image item inside a good Response.
    ``output_tokens``: as reported, ``None`` when the answer reports no usage.
    """

    shaped: bool = False
    error: ErrorBody | None = None
    item_error: ErrorBody | None = None
    pictures: tuple[ImageFacts, ...] = ()
    url_count: int = 0  # pictures that came as URLs
    not_pictures: int = 0  # of these, those behind which something else was found
    usage: JsonObject | None = None
    output_tokens: int | None = None
    served_model: str | None = None
    response_id: str | None = None
    response_status: str | None = None
    ids: tuple[str, ...] = ()  # of the Response and its items: what a later request may name
    size: str | None = None  # this and the next three: what the answer says it made, in the upstream's words
    quality: str | None = None
    output_format: str | None = None
    tool_model: str | None = None
    image_tokens: int | None = None  # output tokens of the pictures alone
