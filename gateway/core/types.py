"""The nouns of a request, as frozen values.

Everything that policy, classification and the record talk about is defined here, so that each room reads and returns
the same shapes; nothing here decides or does anything. Three model names are never confused: *asked* (the client's
word), *sent* (the word on the wire to the upstream) and *served* (what the upstream reported, or nothing).
"""

from collections.abc import Mapping, Sequence
from enum import IntEnum, StrEnum
from typing import NewType, TypeAlias

from msgspec import Struct, field

from gateway.core.errand import Errand, Reference
from gateway.core.principal import ANYONE, Principal

RequestId = NewType("RequestId", str)
AttemptId = NewType("AttemptId", str)

JsonValue: TypeAlias = "str | int | float | bool | Sequence[JsonValue] | Mapping[str, JsonValue] | None"
JsonObject: TypeAlias = Mapping[str, JsonValue]


class Surface(StrEnum):
    """The three POST surfaces; the value is the path below ``/v1/`` and the record's ``endpoint``."""

    GENERATIONS = "images/generations"
    EDITS = "images/edits"
    RESPONSES = "responses"

    def __init__(self, path: str) -> None:
        self.is_images = path.startswith("images/")  # it answers with pictures and nothing else


class Phase(IntEnum):
    """How far an exchange with an upstream got; taken from the HTTP client's own trace.

    ``UNSENT``: no byte of the request left us. ``SENT``: some did, no answer head came.
    ``ANSWERED``: the status came, the body did not come whole. ``DONE``: the whole answer is here.
    """

    UNSENT = 0
    SENT = 1
    ANSWERED = 2
    DONE = 3


class Cause(StrEnum):
    """Why an exchange ended before its answer was whole. The value is the ``detail`` of the failure."""

    CONNECT_REFUSED = "connect_refused"
    DNS = "dns"
    TLS = "tls"
    CONNECT_TIMEOUT = "connect_timeout"
    CONNECT_FAILED = "connect_failed"
    POOL_TIMEOUT = "pool_timeout"
    UPLOAD_STALLED = "upload_stalled"
    DROPPED = "dropped"  # the peer closed before its status line
    RESET = "reset"
    TRUNCATED = "truncated"  # the peer closed before the body's declared end
    BAD_FRAMING = "bad_framing"  # not HTTP: bad status line, bad chunk, oversized head
    BAD_ENCODING = "bad_encoding"  # a content-encoding that was not asked for
    TOO_LARGE = "too_large"  # over the answer cap
    SPOOL_FULL = "spool_full"  # our own disk takes no more
    PATIENCE = "patience"
    IDLE = "idle"
    DEADLINE = "deadline"
    UNFINISHED = "unfinished"  # a stream that ended in order, but before its last event
    BAD_EVENT = "bad_event"  # an event of a stream whose data is no JSON object
    CLIENT_GONE = "client_gone"
    INTERRUPTED = "interrupted"  # the gateway itself was told to end and could not wait any longer


class Outcome(StrEnum):
    """Whether money may be gone."""

    NOT_SENT = "not_sent"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    DELIVERED = "delivered"


class Fault(StrEnum):
    """Whose failure it is."""

    CALLER = "caller"
    ACCOUNT = "account"
    OPTION = "option"
    ROUTING = "routing"
    UPSTREAM = "upstream"
    STORAGE = "storage"


class Action(StrEnum):
    """What the walk does after a failure."""

    NEXT = "next"
    STOP = "stop"


class InputRole(StrEnum):
    """What a given picture is for."""

    IMAGE = "image"
    MASK = "mask"
    MARKUP = "markup"


class ImageFacts(Struct, frozen=True, kw_only=True):
    """What the bytes of one picture say, read from its header only; pixels are never decoded.

    ``format`` is png, jpeg, webp, gif, svg or ``unknown``; ``width`` and ``height`` are pixels, absent
    when the header does not tell; ``alpha`` is whether the format's header declares transparency.
    """

    sha256: str
    bytes: int
    format: str
    width: int | None = None
    height: int | None = None
    alpha: bool | None = None


class InputFacts(Struct, frozen=True, kw_only=True):
    """One picture the caller gave. ``source``: upload, data_url, url or item; ``image`` absent for a URL."""

    role: InputRole
    source: str
    image: ImageFacts | None = None
    asset_id: str | None = None  # the newest kept picture with the same bytes that the caller may see


class ToolFacts(Struct, frozen=True, kw_only=True):
    """The ``image_generation`` tool of a Responses request: its own model word, and whether it is forced."""

    asked_model: str | None
    forced: bool
    index: int = 0  # of the tool in ``tools``


class Facts(Struct, frozen=True, kw_only=True):
    """All that policy and the record may know of a request; prompts only as a keyed hash and a length.

    Texts are the caller's words, unvalidated; ``None`` means the field was absent or null.
    ``prompt_text`` is set only when ``privacy.prompts: text``.
    """

    surface: Surface
    asked_model: str | None  # None: the body named no model
    stream: bool = False
    n: int = 1
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    output_format: str | None = None
    output_compression: int | None = None
    moderation: str | None = None
    input_fidelity: str | None = None
    partial_images: int | None = None
    prompt_hash: str | None = None
    prompt_chars: int = 0
    prompt_text: str | None = None
    end_user_hash: str | None = None
    inputs: tuple[InputFacts, ...] = ()  # images only, in the caller's order
    mask: InputFacts | None = None
    markup: InputFacts | None = None
    tool: ToolFacts | None = None
    errand: Errand = Errand.CREATE  # on the Responses surface
    references: tuple[Reference, ...] = ()
    detached: bool = False  # a turn in the background, which goes on at the upstream without anybody
    complexity: str | None = None
    frame_count: int | None = None
    frame_duration_ms: int | None = None
    svg: bool = False  # whether the settings of an SVG's author are given
    response_format: str | None = None
    style: str | None = None
    unknown_parameters: tuple[str, ...] = ()  # of an images body, as far as their names are plain; at most 16

    @property
    def endpoint(self) -> str:
        """The record's ``endpoint``."""
        return str(self.surface if self.surface.is_images else self.errand)


class Directives(Struct, frozen=True, kw_only=True):
    """What the caller's headers ask of routing."""

    pin: str | None = None
    fallback: bool = True
    tags: tuple[tuple[str, str], ...] = ()
    takes_json: bool = True  # whether the ``accept`` header allows JSON, which matters to streams only
    caller: Principal = ANYONE  # whose key the request came with
    idempotency: str | None = None  # the SHA-256 of the caller's Idempotency-Key
    flight: str | None = None  # the flight that the caller says this request belongs to
    respond_async: bool = False
    is_retry: bool = False  # an SDK says that it sends this again


class Splice(Struct, frozen=True, kw_only=True):
    """A change to a body in transit: the bytes ``start:end`` of the original become ``text``.

    ``start == end`` inserts. Everything else of the body travels untouched.
    """

    start: int
    end: int
    text: bytes


class FieldPlace(Struct, frozen=True, kw_only=True):
    """Where a field of a body stands. Offsets are bytes.

    ``value``: a JSON value (a string with its quotes), or a form field's raw text. ``whole``: with its key, or its part
    of the form. ``lead``: where the member before it ends, ``None`` for the first; ``follow``: where the next one
    begins, ``None`` for the last.
    """

    value: tuple[int, int]
    whole: tuple[int, int]
    lead: int | None = None
    follow: int | None = None


class BodyMap(Struct, frozen=True, kw_only=True):
    """Where, in the caller's body, the words are that routing may replace. Offsets are bytes.

    ``model``: the range of the JSON string *with its quotes*, or of the multipart field's raw value;
    ``None`` when the body names no model, in which case ``insert_at`` is where one can be put.
    ``tool_models``: ranges of ``tools[i].model`` strings of image tools, with their quotes.
    ``boundary``: of a multipart body (without the leading dashes), else ``None``. ``digest``: tells whether two bodies
    ask the same: SHA-256 of JSON as it came, of a form's parts in order, which another boundary does not change.
    ``fields``: the places of the options that may be translated, lowered or left out, by their path (``size``,
    ``tools[0].size``); of each image tool also its ``type``.
    """

    content_type: str
    length: int
    model: tuple[int, int] | None
    insert_at: int
    tool_models: tuple[tuple[int, int], ...] = ()
    boundary: str | None = None
    fields: Mapping[str, FieldPlace] = field(default_factory=dict)
    digest: str = ""


class Wire(Struct, frozen=True, kw_only=True):
    """One upstream call as bytes will say it: path below the channel's base URL, headers, body splices.

    Built by a codec, for one attempt; building it twice gives the same value.
    """

    path: str
    headers: tuple[tuple[str, str], ...]
    splices: tuple[Splice, ...]
    method: str = "POST"


class Moderation(Struct, frozen=True, kw_only=True):
    """What a verdict on content says of itself: ``stage`` (input, output, unknown) and the categories it found."""

    stage: str | None = None
    categories: tuple[str, ...] = ()


class ErrorBody(Struct, frozen=True, kw_only=True):
    """The words of an OpenAI error envelope, as the upstream put them (redacted before they leave us)."""

    message: str
    type: str | None = None
    param: str | None = None
    code: str | None = None
    moderation: Moderation | None = None


class FailureClass(StrEnum):
    """What was seen; the table of consequences is ``core/failures.py``."""

    UNREACHABLE = "unreachable"
    RATE_LIMITED = "rate_limited"
    QUOTA_EXHAUSTED = "quota_exhausted"
    KEY_REJECTED = "key_rejected"
    ACCOUNT_NOT_READY = "account_not_ready"
    MODEL_MISSING = "model_missing"
    UNSUPPORTED_OPTION = "unsupported_option"
    BAD_REQUEST = "bad_request"
    CONTENT_POLICY = "content_policy"
    OVERLOADED = "overloaded"
    SERVER_ERROR = "server_error"
    LOST_BEHIND = "lost_behind"
    TIMEOUT = "timeout"
    CONNECTION_LOST = "connection_lost"
    MALFORMED = "malformed"
    EMPTY_RESULT = "empty_result"
    CUT = "cut"
    CLIENT_GONE = "client_gone"


class Failure(Struct, frozen=True, kw_only=True):
    """One failed attempt, classified. ``detail`` is the part after the colon of ``x-retry-reason``.

    ``action`` is the class's default for this request (a route may override it). ``error`` holds the upstream's
    words when it spoke. ``passes_through``: the answer is a well-formed Response that reports its own failure, so the
    client gets it as it is when nothing better comes.
    """

    kind: FailureClass
    detail: str
    outcome: Outcome
    fault: Fault
    action: Action
    status: int | None = None
    retry_after_s: float | None = None
    error: ErrorBody | None = None
    passes_through: bool = False


class Excluded(Struct, frozen=True, kw_only=True):
    """A target that was not tried: ``target`` is ``channel/row``, ``reason`` a fixed word with an optional detail."""

    target: str
    reason: str


class Refusal(Struct, frozen=True, kw_only=True):
    """A request that ends before anything is sent: the client's error, in OpenAI's four words plus a status."""

    status: int
    code: str
    message: str
    param: str | None = None
    fault: Fault = Fault.CALLER
    excluded: tuple[Excluded, ...] = ()
    retry_after_s: float | None = None
    asked_model: str | None = None  # as the body names it, where nothing else of the body is kept
