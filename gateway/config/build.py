"""A file without mistakes -> ``Settings`` and ``RouteTable``: defaults filled in, usability decided.

Which targets can be used is decided here, once, and never by health: a channel without credentials cannot; a sandbox
can only while it is allowed and no other target of the same route has credentials.
"""

from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from gateway.config.contract_blocks import Verdict
from gateway.config.contracts import Contracts
from gateway.config.databases import database_url
from gateway.config.model import ChannelBlock, RouteBlock, RoutesFile, RowBlock
from gateway.config.nodes import Block, Scalar, block_at
from gateway.config.prices import Prices
from gateway.config.route_blocks import WhenBlock
from gateway.config.units import host_of
from gateway.core import when
from gateway.core.legacy import Legacy
from gateway.core.result_check import DIFFERENCES
from gateway.core.table import (
    Api,
    AssetSettings,
    BodyLimits,
    Channel,
    ChannelKind,
    FailureCodes,
    Patience,
    Route,
    RouteTable,
    RouteTarget,
    Row,
    Secret,
    ServerSettings,
    Settings,
    Timeouts,
)
from gateway.core.terms import OPEN_CONTRACT
from gateway.core.types import Action, Surface
from gateway.core.when import Condition, Use, WhenRule

NO_CREDENTIALS = "no_credentials"
SANDBOX_ASLEEP = "sandbox_asleep"


class Shipped(Struct, frozen=True, kw_only=True):
    """The catalog data that a table carries."""

    patience: Patience
    codes: FailureCodes
    contracts: Contracts
    legacy: Legacy
    prices: Prices


def settings(file: RoutesFile, data_dir: Path, assets: AssetSettings) -> Settings:
    """Build the settings; the database lies under ``data_dir`` unless its path is absolute."""
    body = file.server.body
    return Settings(
        database=database_url(file.storage.database, data_dir),
        shared=file.storage.shared.url,
        server=ServerSettings(
            max_in_flight=file.server.max_in_flight,
            stream_head_s=file.server.stream_head,
            stream_hold_s=file.server.stream_hold,
            client_window_s=file.server.client_window,
            send_ahead=file.server.send_ahead,
            public_url=file.server.public_url,
            body=BodyLimits(json=body.json_body, edits_json=body.edits_json, multipart=body.multipart),
        ),
        prompts=file.privacy.prompts,
        assets=assets,
        alerts=file.alerts.frozen(),
    )


def table(file: RoutesFile, root: Block, shipped: Shipped, *, version: str, sandbox_allowed: bool) -> RouteTable:
    """Build the route table. ``root`` tells why a secret is absent."""
    absent = _absent_keys(root)
    channels = {name: _channel(name, block, absent.get(name), shipped) for name, block in file.channels.items()}
    routes = {
        name: _route(name, block, channels, sandbox_allowed=sandbox_allowed) for name, block in file.routes.items()
    }
    return RouteTable(
        version=version,
        channels=channels,
        routes=routes,
        patience=shipped.patience,
        codes=shipped.codes,
        legacy=shipped.legacy,
        unknown_ids_to=_unknown_ids_to(file, channels),
    )


def _unknown_ids_to(file: RoutesFile, channels: Mapping[str, Channel]) -> str | None:
    """Give the one channel that keeps Responses, when ids that nobody knows are to go there."""
    if file.state.unknown_ids == "refuse":
        return None
    keeps = (name for name, channel in channels.items() if channel.kind is not ChannelKind.SANDBOX and _turns(channel))
    return next(keeps, None)


def _turns(channel: Channel) -> bool:
    return any(Surface.RESPONSES in row.serves for row in channel.rows.values())


def _absent_keys(root: Block) -> Mapping[str, str]:
    channels = block_at(root.get("channels"))
    reasons: dict[str, str] = {}
    for name, entry in {} if channels is None else channels.entries.items():
        key = entry.node.entries.get("api_key") if isinstance(entry.node, Block) else None
        if key is not None and isinstance(key.node, Scalar) and key.node.absent is not None:
            reasons[name] = key.node.absent
    return reasons


def _channel(name: str, block: ChannelBlock, absent: str | None, shipped: Shipped) -> Channel:
    is_sandbox = block.kind is ChannelKind.SANDBOX
    key = (block.api_key or "").strip()
    unready = None if is_sandbox or key else absent or "api_key is empty"
    url = block.base_url or ""
    rows = {
        row: replace(
            _row(row, held, shipped.contracts, is_sandbox=is_sandbox),
            price=shipped.prices.of_row(f"{name}/{row}", held.price, block.group),
        )
        for row, held in block.rows.items()
    }
    return Channel(
        name=name,
        owner=block.owner,
        kind=block.kind,
        api=Api.SANDBOX if is_sandbox else Api.OPENAI,
        base_url=url,
        host=host_of(url),
        rows=rows,
        api_key=Secret(key) if key else None,
        unready=unready,
        billing=block.billing,
        output_rights=block.output_rights,
        group=block.group,
        region=block.region,
        timeouts=Timeouts(
            connect_s=block.timeouts.connect, patience_s=block.timeouts.patience, idle_s=block.timeouts.idle
        ),
        max_in_flight=block.max_in_flight,
        limits=block.limits.frozen(),
    )


def _row(name: str, block: RowBlock, contracts: Contracts, *, is_sandbox: bool) -> Row:
    contract = contracts.of_row(name, block.model, block.contract) or OPEN_CONTRACT  # a name that is none was reported
    return Row(
        name=name,
        model=block.model or name,
        serves=contract.surfaces if block.serves is None else frozenset(block.serves),
        must_be_verified=block.require is not None,
        # The sandbox counts tokens in its own way, and its models never die.
        contract=replace(contract, tokens=None, retired_on=None) if is_sandbox else contract,
    )


def _rule(block: WhenBlock) -> WhenRule:
    read = (when.read(key, value) for key, value in block.conditions.items())
    return WhenRule(
        conditions=tuple(condition for condition in read if isinstance(condition, Condition)),  # rules.py saw them all
        use=tuple(Use(channel=use.channel, row=use.row) for use in block.use),
    )


def _route(name: str, block: RouteBlock, channels: Mapping[str, Channel], *, sandbox_allowed: bool) -> Route:
    named = [(channels[target.channel], target.row or name) for target in block.targets]
    has_credentials = any(channel.unready is None and channel.kind is not ChannelKind.SANDBOX for channel, _ in named)
    sandbox_wakes = sandbox_allowed and not has_credentials
    targets = tuple(
        RouteTarget(
            channel=channel.name,
            row=row,
            unusable=_unusable(channel, sandbox_wakes=sandbox_wakes),
            weight=target.weight,
            substitute=target.substitute,
        )
        for (channel, row), target in zip(named, block.targets, strict=True)
    )
    actions = block.on_failure
    return Route(
        name=name,
        targets=targets,
        deadline_s=block.deadline,
        max_attempts=block.max_attempts,
        on_failure={kind: Action(one.action) for kind, one in actions.items() if one.action.value in set(Action)},
        default_for=frozenset(block.default_for),
        keep=block.keep,
        policy=block.policy,
        when=tuple(_rule(rule) for rule in block.when),
        repeats={kind: one.times for kind, one in actions.items() if one.times is not None},
        downgrade=tuple(step.frozen(actions) for step in block.downgrade),
        max_cost=block.max_cost,
        charge=block.charge.frozen(),
        intolerable=frozenset(word for word in DIFFERENCES if getattr(block.result, word) is Verdict.FAIL),
        deliver=block.deliver,
    )


def _unusable(channel: Channel, *, sandbox_wakes: bool) -> str | None:
    if channel.kind is ChannelKind.SANDBOX:
        return None if sandbox_wakes else SANDBOX_ASLEEP
    return None if channel.unready is None else NO_CREDENTIALS
