"""The route table and the settings as frozen values; ``config`` builds them and nothing else does.

A loaded table is immutable: a reload builds a new one and swaps one reference, so a request keeps the table it
started with.
"""

from collections.abc import Mapping
from enum import StrEnum

from msgspec import Struct, field

from gateway.core.alerts import AlertSettings
from gateway.core.ceiling import Ceiling
from gateway.core.delivery import Deliver
from gateway.core.legacy import Legacy
from gateway.core.limits import Rate
from gateway.core.prices import Price
from gateway.core.tariff import CreditCharge
from gateway.core.terms import OPEN_CONTRACT, Contract
from gateway.core.types import Action, FailureClass, Surface
from gateway.core.when import WhenRule

MB = 1_000_000


class Secret:
    """A credential that cannot be printed: ``repr`` and ``str`` are ``***``; only ``reveal()`` gives the text."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Give the secret text, for the one place that puts it on the wire."""
        return self._text

    def __repr__(self) -> str:
        return "***"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other.reveal() == self._text

    def __hash__(self) -> int:
        return hash(("Secret", self._text))


class ChannelKind(StrEnum):
    """How a channel relates to the model's maker."""

    DIRECT = "direct"
    GATEWAY = "gateway"
    SANDBOX = "sandbox"


class Api(StrEnum):
    """Which codec speaks to a channel. Members are those that are built."""

    OPENAI = "openai"
    SANDBOX = "sandbox"


class PromptPrivacy(StrEnum):
    """How prompts reach the record."""

    HASH = "hash"
    TEXT = "text"


class Policy(StrEnum):
    """How a route orders its targets. Members are those that are built."""

    PRIORITY = "priority"
    WEIGHTED = "weighted"
    FASTEST = "fastest"
    LEAST_BUSY = "least_busy"
    CHEAPEST = "cheapest"


class Limits(Struct, frozen=True, kw_only=True):
    """What we may ask of a channel in a minute; absent: as much as comes."""

    requests: Rate | None = None
    images: Rate | None = None


class Timeouts(Struct, frozen=True, kw_only=True):
    """Seconds. ``patience_s`` bounds one attempt from its first byte to its last; ``None`` = by shape (auto)."""

    connect_s: float = 3.0
    patience_s: float | None = None
    idle_s: float = 120.0


class Row(Struct, frozen=True, kw_only=True):
    """One model on one channel: ``name`` is the row's key, ``model`` the word sent upstream.

    ``must_be_verified``: it takes traffic only on surfaces on which a smoke run of it has passed.
    """

    name: str
    model: str
    serves: frozenset[Surface]
    price: Price | None = None
    contract: Contract = OPEN_CONTRACT
    must_be_verified: bool = False


class Channel(Struct, frozen=True, kw_only=True):
    """One upstream account. ``unready`` says why it cannot be used (``OPENAI_API_KEY is not set``), else ``None``."""

    name: str
    owner: str
    kind: ChannelKind
    api: Api
    base_url: str  # no trailing slash; empty for the sandbox
    host: str  # base_url's host[:port], the record's base_url_host
    rows: Mapping[str, Row]
    api_key: Secret | None = None
    unready: str | None = None
    billing: str | None = None
    output_rights: str | None = None
    group: str | None = None  # the account's price group at a catalog router
    region: str | None = None
    timeouts: Timeouts = field(default_factory=Timeouts)
    max_in_flight: int = 64
    limits: Limits = field(default_factory=Limits)


class RouteTarget(Struct, frozen=True, kw_only=True):
    """One target of a route. ``unusable`` is decided at load (no credentials, sandbox asleep), never by health.

    ``weight`` counts under the weighted policy only; a target of weight 0 is asked after all others. ``substitute``:
    another model, asked only when no other target is left.
    """

    channel: str
    row: str
    unusable: str | None = None
    weight: int = 1
    substitute: bool = False

    @property
    def name(self) -> str:
        """``channel/row``, as it stands in ``excluded``."""
        return f"{self.channel}/{self.row}"


class Downgrade(Struct, frozen=True, kw_only=True):
    """A step down: after a failure of class ``on`` the request is asked again with these values of its parameters.

    ``stays``: the same target is asked; else the next one is.
    """

    on: FailureClass
    sets: tuple[tuple[str, str], ...]
    stays: bool = True


class Route(Struct, frozen=True, kw_only=True):
    """One model name that clients may ask for. ``deadline_s`` bounds the whole request, ``max_cost`` its attempts.

    ``repeats``: how often the same target is asked again after a class of failure, before ``on_failure`` decides.
    """

    name: str
    targets: tuple[RouteTarget, ...]
    deadline_s: float = 580.0
    max_attempts: int = 3
    on_failure: Mapping[FailureClass, Action] = field(default_factory=dict)
    default_for: frozenset[Surface] = frozenset()
    policy: Policy = Policy.PRIORITY
    when: tuple[WhenRule, ...] = ()
    repeats: Mapping[FailureClass, int] = field(default_factory=dict)
    charge: CreditCharge | None = None  # what keys pay in credits; absent: a request costs them what it costs
    keep: bool = True  # whether what it delivers is kept
    intolerable: frozenset[str] = frozenset()  # differences of a result that make it a failure
    deliver: Deliver = Deliver.AS_ASKED
    downgrade: tuple[Downgrade, ...] = ()
    max_cost: Ceiling | None = None


class Patience(Struct, frozen=True, kw_only=True):
    """How long one attempt may take, by the shape of the request (seconds); shipped as dated data.

    ``by_quality`` maps low/medium/high; ``heavy_s`` applies over ``heavy_pixels`` or over ``heavy_inputs`` pictures.
    """

    by_quality: Mapping[str, float]
    default_s: float
    heavy_s: float
    heavy_pixels: int
    heavy_inputs: int
    responses_s: float


class Phrase(Struct, frozen=True, kw_only=True):
    """A phrase of an error message, lower case, that decides a class; tried in file order."""

    text: str
    kind: FailureClass


class FailureCodes(Struct, frozen=True, kw_only=True):
    """Which upstream words mean which class (``catalog/failures.yaml``). ``code_prefixes`` e.g. ``channel:``."""

    codes: Mapping[str, FailureClass]
    code_prefixes: tuple[tuple[str, FailureClass], ...]
    types: Mapping[str, FailureClass]
    statuses: Mapping[int, FailureClass]
    phrases: tuple[Phrase, ...]


class RouteTable(Struct, frozen=True, kw_only=True):
    """All channels and routes, with the catalog data they are read with. ``version`` is the file's checksum."""

    version: str
    channels: Mapping[str, Channel]
    routes: Mapping[str, Route]
    patience: Patience
    codes: FailureCodes
    unknown_ids_to: str | None = None  # the channel that gets ids this gateway never bound; absent: they are refused
    legacy: Legacy = field(default_factory=Legacy)

    def default_route(self, surface: Surface) -> Route | None:
        """Give the route that serves requests of ``surface`` that name no model."""
        return next((r for r in self.routes.values() if surface in r.default_for), None)


class BodyLimits(Struct, frozen=True, kw_only=True):
    """Largest accepted bodies, bytes."""

    json: int = 32 * MB
    edits_json: int = 340 * MB
    multipart: int = 850 * MB


class ServerSettings(Struct, frozen=True, kw_only=True):
    """``server:`` of the routes file.

    ``stream_head_s``: how long a client of a stream waits for any byte at most. ``stream_hold_s``: how long events that
    say only that work began are held back at most. ``client_window_s``: how long any other client waits for its answer
    before it is told to come back; 0: as long as it takes; ``None``: it depends on the address. ``send_ahead``: bytes
    from which on a form is sent on while it still arrives; 0: never.
    """

    max_in_flight: int = 10_000
    stream_head_s: float = 10.0
    stream_hold_s: float = 1.0
    client_window_s: float | None = None
    send_ahead: int = 1_000_000
    public_url: str | None = None  # where clients reach this server; absent: where each of them did
    body: BodyLimits = field(default_factory=BodyLimits)


class ObjectStore(Struct, frozen=True, kw_only=True):
    """An S3-compatible store. Absent credentials: the client finds its own."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    region: str | None = None
    access_key: Secret | None = None
    secret_key: Secret | None = None
    session_token: Secret | None = None


class AssetSettings(Struct, frozen=True, kw_only=True):
    """Where pictures are kept (a directory, absolute, or an object store), how long, and how much of them at most."""

    store: str | ObjectStore
    ttl_s: float = 30 * 86_400.0
    most_bytes: int = 20_000_000_000


class Settings(Struct, frozen=True, kw_only=True):
    """Everything of the file that is not routing.

    ``database`` is a resolved SQLAlchemy URL; ``shared`` a Redis server's, empty when nothing is shared. Both may carry
    a password.
    """

    database: str
    shared: str = ""
    server: ServerSettings = field(default_factory=ServerSettings)
    prompts: PromptPrivacy = PromptPrivacy.HASH
    assets: AssetSettings = AssetSettings(store="")
    alerts: AlertSettings = field(default_factory=AlertSettings)

    def __repr__(self) -> str:
        """Name it, and leave out what may carry a password."""
        return f"Settings(server={self.server!r}, prompts={self.prompts!r}, assets={self.assets!r})"
