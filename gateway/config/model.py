"""The shape of the routes file: each block, its keys, their meaning and their defaults.

These models stand at the boundary only: ``build`` turns them into the frozen values of ``core.table``. They are also
where ``waybill schema`` takes the JSON Schema from, so every key has its description here. Unknown keys are refused.
"""

from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import AfterValidator, Field

from gateway.config import databases, stores, units
from gateway.config.alert_blocks import AlertsBlock
from gateway.config.charge_blocks import ChargeBlock
from gateway.config.contract_blocks import ContractBlock, ResultBlock
from gateway.config.forms import DURATION, SIZE, Count, Duration, Named, Size, Strict, Text, Wait, described
from gateway.config.price_blocks import PriceBlock
from gateway.config.route_blocks import ActionBlock, DowngradeBlock, LimitsBlock, Money, Requirement, Weight, WhenBlock
from gateway.core.delivery import Deliver
from gateway.core.table import Api, ChannelKind, Policy, PromptPrivacy
from gateway.core.types import FailureClass, Surface

_T = TypeVar("_T")


def _patience(value: object) -> float | None:
    return None if value == "auto" else units.seconds(value)


def _window(value: object) -> float:
    return 0.0 if value in ("off", False) else units.seconds(value)


def _ahead(value: object) -> int:
    return 0 if value in ("off", False) else units.octets(value)


def _version(value: object) -> int:
    if units.whole(value) != 1:
        raise ValueError("this version of Waybill reads version 1 of the file")
    return 1


def _distinct(values: list[_T]) -> list[_T]:
    if len(set(values)) != len(values):
        raise ValueError("names the same thing twice")
    return values


Patience: TypeAlias = Annotated[float | None, *described(_patience, {"anyOf": [{"const": "auto"}, DURATION]})]
Window: TypeAlias = Annotated[float, *described(_window, {"anyOf": [{"const": "off"}, DURATION]})]
SendAhead: TypeAlias = Annotated[int, *described(_ahead, {"anyOf": [{"const": "off"}, SIZE]})]
Version: TypeAlias = Annotated[int, *described(_version, {"const": 1})]
HeaderText: TypeAlias = Annotated[str, AfterValidator(units.header_text)]
ModelName: TypeAlias = Annotated[str, AfterValidator(units.text)]
ChannelName: TypeAlias = Annotated[str, AfterValidator(units.channel_name)]
HttpUrl: TypeAlias = Annotated[str, AfterValidator(units.http_url)]
Database: TypeAlias = Annotated[
    databases.DatabaseFile | databases.Server, *described(databases.database, databases.DATABASE_FORM)
]
Together: TypeAlias = Annotated[databases.Server, *described(databases.shared, databases.SHARED_FORM)]
Store: TypeAlias = Annotated[stores.Directory | stores.Bucket, *described(stores.store, stores.FORM)]
Surfaces: TypeAlias = Annotated[list[Surface], AfterValidator(_distinct)]


def _default(written: str | dict[str, Any]) -> dict[str, Any]:
    return {"default": written}


_EMPTY = _default({})
_STREAMS_ONLY = {FailureClass.CUT, FailureClass.CLIENT_GONE}
_CLASSES: dict[str, Any] = {
    "propertyNames": {"enum": [kind.value for kind in FailureClass if kind not in _STREAMS_ONLY]}
}


class BodyBlock(Strict):
    """How large a body may be, by kind."""

    json_body: Size = Field(
        default=32_000_000,
        alias="json",
        description="Largest JSON body, except of edits.",
        json_schema_extra=_default("32MB"),
    )
    edits_json: Size = Field(
        default=340_000_000,
        description="Largest JSON body of images/edits, which may carry pictures.",
        json_schema_extra=_default("340MB"),
    )
    multipart: Size = Field(
        default=850_000_000,
        description="Largest multipart body.",
        json_schema_extra=_default("850MB"),
    )


class ServerBlock(Strict):
    """How the server meets its clients."""

    public_url: HttpUrl | None = Field(
        default=None,
        description="The address that clients use, for links to pictures; absent: the one each request names.",
    )
    max_in_flight: Count = Field(
        default=10_000, description="Requests served at the same time; more are refused at once with 503."
    )
    stream_head: Duration = Field(
        default=10.0,
        description="How long a client of a stream waits for any byte; then the head goes out, and no other target may "
        "answer.",
        json_schema_extra=_default("10s"),
    )
    stream_hold: Wait = Field(
        default=1.0,
        description="How long events that say only that work began are held back, in case the attempt fails.",
        json_schema_extra=_default("1s"),
    )
    client_window: Window | None = Field(
        default=None,
        description="How long a client waits before it is told to come back, while its request goes on; off: no bound; "
        "absent: 90s, and off where only this machine can connect.",
    )
    send_ahead: SendAhead = Field(
        default=1_000_000,
        description="A form of at least so many bytes is sent on while it still arrives, where one target is left; "
        "off: none is.",
        json_schema_extra=_default("1MB"),
    )
    body: BodyBlock = Field(
        default=BodyBlock(), description="The largest bodies taken from clients.", json_schema_extra=_EMPTY
    )


class StorageBlock(Strict):
    """What is kept, and where."""

    database: Database = Field(
        default=databases.DatabaseFile(path="waybill.db"),
        description="The ledger: sqlite:///FILE lies under the data directory, sqlite:////FILE anywhere; "
        "postgresql://USER:PASSWORD@HOST/NAME is a server that replicas share.",
        json_schema_extra=_default("sqlite:///waybill.db"),
    )
    shared: Together = Field(
        default=databases.Server(url=""),
        description="Health, rates and limits: memory: in this process, redis://HOST:PORT/NUMBER with all replicas.",
        json_schema_extra=_default("memory:"),
    )
    assets: Store = Field(
        default=stores.Directory(path="assets"),
        description="The pictures: file:DIR lies under the data directory, s3://BUCKET/PREFIX?endpoint=URL&region=NAME "
        "in an object store, with the credentials of the environment.",
        json_schema_extra=_default("file:assets"),
    )
    asset_ttl: Duration = Field(
        default=30 * 86_400.0, description="How long a picture is kept.", json_schema_extra=_default("30d")
    )
    asset_max: Size = Field(
        default=20_000_000_000,
        description="Bytes of all pictures; over that the oldest go first, accepted ones last.",
        json_schema_extra=_default("20GB"),
    )


class PrivacyBlock(Strict):
    """What is recorded of prompts."""

    prompts: PromptPrivacy = Field(
        default=PromptPrivacy.HASH, description="Prompts in the record: hash (keyed) or text."
    )


class TimeoutsBlock(Strict):
    """The clocks of one attempt on a channel."""

    connect: Duration = Field(
        default=3.0,
        description="To reach the channel: DNS, TCP and TLS.",
        json_schema_extra=_default("3s"),
    )
    patience: Patience = Field(
        default=None,
        description="For the whole answer of one attempt; auto chooses by the shape of the request.",
        json_schema_extra=_default("auto"),
    )
    idle: Duration = Field(
        default=120.0,
        description="Between two pieces of an answer that has begun.",
        json_schema_extra=_default("120s"),
    )


class RowBlock(Strict):
    """One model on one channel."""

    model: ModelName | None = Field(
        default=None, description="The model's name on this channel, sent upstream; absent: the row's own name."
    )
    price: PriceBlock | None = Field(
        default=None, description="What the upstream charges: a price of the catalog, or one written out."
    )
    serves: Surfaces | None = Field(
        default=None, min_length=1, description="The surfaces this row answers on; absent: those of its contract."
    )
    require: Requirement | None = Field(
        default=None, description="verified: no traffic on a surface before a smoke run of the row has passed there."
    )
    contract: ContractBlock | None = Field(
        default=None,
        description="What the row accepts; absent: the catalog's contract named as the model or the row, else open.",
    )


class ChannelBlock(Strict):
    """One upstream account."""

    owner: HeaderText = Field(description="Whose contract and bill it is; stamped on answers as x-route-owner.")
    kind: ChannelKind = Field(
        description="direct: the model's maker; gateway: a reseller; sandbox: drawn by Waybill itself, at no cost."
    )
    api: Api | None = Field(
        default=None, description="The API the channel speaks; absent: openai, and sandbox for kind sandbox."
    )
    base_url: HttpUrl | None = Field(
        default=None, description="Where the API lies, up to and with /v1. Not for the sandbox."
    )
    api_key: str | None = Field(
        default=None, description="The channel's key, as ${NAME}. Unset: the channel is not ready. Not for the sandbox."
    )
    billing: Text | None = Field(default=None, description="The bill on which its costs appear; goes into the record.")
    output_rights: Text | None = Field(default=None, description="The terms of its pictures; go into the record.")
    group: Text | None = Field(
        default=None,
        description="The account's price group at a catalog router: selects the ratio of a price by group.",
    )
    region: Text | None = Field(default=None, description="Where the channel runs; goes into the record.")
    timeouts: TimeoutsBlock = Field(
        default=TimeoutsBlock(), description="How long one attempt may take.", json_schema_extra=_EMPTY
    )
    max_in_flight: Count = Field(default=64, description="Attempts under way on this channel at the same time.")
    limits: LimitsBlock = Field(
        default=LimitsBlock(), description="How much may be requested of it in any minute.", json_schema_extra=_EMPTY
    )
    rows: dict[ModelName, RowBlock] = Field(min_length=1, description="The channel's models, by name.")


class TargetBlock(Named):
    """A channel, or one of its rows."""

    channel: str = Field(description="A name under channels.")
    row: str | None = Field(default=None, description="One of the channel's rows; absent: the one named as the route.")
    weight: Weight = Field(
        default=1, description="Its share of the requests under the policy weighted; 0: only after all others."
    )
    substitute: bool = Field(default=False, description="Another model: asked only when no other target is left.")


class RouteBlock(Strict):
    """One model that clients may ask for."""

    policy: Policy = Field(
        default=Policy.PRIORITY,
        description="How targets are ordered: as written, by weight, by how fast, busy or cheap they are.",
    )
    deadline: Duration = Field(
        default=580.0,
        description="For the whole request, all attempts together.",
        json_schema_extra=_default("580s"),
    )
    max_attempts: Count = Field(default=3, description="Attempts for one request at most.")
    targets: list[TargetBlock] = Field(min_length=1, description="Where the request may go.")
    when: list[WhenBlock] = Field(default=[], description="Rules that narrow the targets; the first that matches does.")
    on_failure: dict[FailureClass, ActionBlock] = Field(
        default={},
        description="What follows a class of failure, where the default is not wanted.",
        json_schema_extra=_CLASSES,
    )
    result: ResultBlock = Field(
        default=ResultBlock(),
        description="What is done about a result that is not what was asked for: warn or fail.",
        json_schema_extra=_EMPTY,
    )
    charge: ChargeBlock = Field(
        default=ChargeBlock(unit="cost"),
        description="What a key is charged: cost, or credits of its balance.",
        json_schema_extra={"default": "cost"},
    )
    deliver: Deliver = Field(
        default=Deliver.AS_ASKED,
        description="How pictures are given on the images surfaces: as asked, as an address, as base64, or both.",
    )
    downgrade: list[DowngradeBlock] = Field(
        default=[], description="Steps down: what is asked for instead after a class of failure, each taken once."
    )
    max_cost: Money | None = Field(
        default=None, description="The most a request may cost, all attempts together: an amount with its currency."
    )
    keep: bool = Field(default=True, description="Whether the pictures of this route are kept.")
    default_for: Surfaces = Field(
        default=[], description="The surfaces on which this route serves requests that name no model."
    )


class StateBlock(Strict):
    """How requests are treated that refer to earlier ones."""

    unknown_ids: Literal["refuse", "forward"] = Field(
        default="refuse",
        description="Ids that this gateway never gave out: refuse, or forward to the channel that serves responses.",
    )


class RoutesFile(Strict):
    """The routes file of Waybill: channels (upstream accounts) and routes (models that clients may ask for)."""

    version: Version = Field(description="The version of the file's format.")
    server: ServerBlock = Field(default=ServerBlock(), description="The server itself.", json_schema_extra=_EMPTY)
    storage: StorageBlock = Field(
        default=StorageBlock(), description="Where the ledger is kept.", json_schema_extra=_EMPTY
    )
    privacy: PrivacyBlock = Field(
        default=PrivacyBlock(), description="How prompts are recorded.", json_schema_extra=_EMPTY
    )
    state: StateBlock = Field(
        default=StateBlock(), description="What upstreams keep between requests.", json_schema_extra=_EMPTY
    )
    alerts: AlertsBlock = Field(default=AlertsBlock(), description="Where alerts are sent.", json_schema_extra=_EMPTY)
    channels: dict[ChannelName, ChannelBlock] = Field(min_length=1, description="The upstream accounts, by name.")
    routes: dict[ModelName, RouteBlock] = Field(min_length=1, description="The models clients may ask for, by name.")
    keys: list[str] = Field(
        default=[],
        max_length=0,
        description="Always empty: virtual keys are made with `waybill keys create` and kept in the ledger.",
    )


def json_schema() -> dict[str, Any]:
    """Give the JSON Schema of the routes file, for editors (``# yaml-language-server: $schema=…``)."""
    schema = RoutesFile.model_json_schema(by_alias=True)
    for definition in schema["$defs"].values():
        if "enum" in definition:
            definition.pop("description", None)  # the keys that hold it say what it means
    return {"$schema": "http://json-schema.org/draft-07/schema#", **schema, "title": "Waybill routes file"}
