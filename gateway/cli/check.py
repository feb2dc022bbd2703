"""``waybill check``: whether the routes file is good, and what each of its rows and routes would do.

Offline: nothing is sent; the ledger is read only where a row demands a proof. Exit 0 when the file is good (also when
no channel is ready: that is a matter of keys, and the table says so), 2 when it has mistakes or cannot be read.
"""

from datetime import UTC, date, datetime

import typer
from msgspec import Struct
from rich.console import Console
from rich.table import Table
from rich.text import Text

from gateway.cli import terminal
from gateway.cli.options import AllowSandbox, Config, DataDir, Json
from gateway.cli.proofs import proofs, unproven
from gateway.cli.setting import setting
from gateway.cli.terminal import BAD, BOLD, DIM, GOOD, WARN, is_wide, stacked, words
from gateway.cli.wording import about, bounds, price, rank, reason, surfaces
from gateway.config import Loaded, Mistake
from gateway.core.retirement import retiring
from gateway.core.table import Channel, ObjectStore, Policy, Route, RouteTable, RouteTarget, Row, Settings
from gateway.core.types import JsonObject, JsonValue
from gateway.core.verification import Proof
from gateway.extras import how_to_install, is_installed


def check(
    *, config: Config = None, data_dir: DataDir = None, as_json: Json = False, sandbox: AllowSandbox = False
) -> None:
    """Validate the routes file and print its rows and routes."""
    wanted = setting(config=config, data_dir=data_dir, sandbox=sandbox)
    loaded = wanted.read()
    if isinstance(loaded, list):
        if as_json:
            terminal.print_json({"ok": False, "mistakes": [_mistake_json(mistake) for mistake in loaded]})
        terminal.complain(loaded)
        raise typer.Exit(2)
    if as_json:
        terminal.print_json(_loaded_json(loaded))
        return
    _show(loaded, terminal.console(wanted.env))


def _show(loaded: Loaded, screen: Console) -> None:
    table = loaded.table
    screen.print(words(str(loaded.path), BOLD).append(f"  version {table.version}", DIM), soft_wrap=True)
    screen.print()
    screen.print(_rows(table, proofs(loaded), wide=is_wide(screen)))
    screen.print()
    screen.print(_routes(table, wide=is_wide(screen)))
    if not any(target.unusable is None for route in table.routes.values() for target in route.targets):
        screen.print()
        screen.print(words("No route has a target that is ready: every request would be answered 503.", WARN))
    unpriced = _unpriced(table)
    if unpriced:
        screen.print()
        screen.print(words(f"Rows without a price, whose cost is unknown: {', '.join(unpriced)}.", WARN))
    unrouted = _unrouted(table)
    if unrouted:
        screen.print()
        screen.print(
            words(f"Channels that no route names, so that no request goes there: {', '.join(unrouted)}.", WARN)
        )
    for extra in _missing_extras(loaded.settings):
        screen.print()
        said = f"{extra.path} needs the extra {extra.name}, which is not installed: {how_to_install(extra.name)}"
        screen.print(words(f"`waybill serve` will not start: {said}", BAD), soft_wrap=True)
    for row in retiring(table, _today()):
        screen.print()
        screen.print(words(row.sentence, WARN))
    for warning in loaded.warnings:
        screen.print()
        screen.print(words(f"Warning: {warning}", WARN), soft_wrap=True)


class _Extra(Struct, frozen=True, kw_only=True):
    """An extra of the distribution, and the key of the routes file that needs it."""

    name: str
    path: str


def _missing_extras(settings: Settings) -> list[_Extra]:
    """Give the extras that the file needs and this installation lacks."""
    needed = (
        (not settings.database.startswith("sqlite:"), "postgres", "storage.database"),
        (bool(settings.shared), "redis", "storage.shared"),
        (isinstance(settings.assets.store, ObjectStore), "s3", "storage.assets"),
    )
    return [_Extra(name=name, path=path) for is_needed, name, path in needed if is_needed and not is_installed(name)]


def _unrouted(table: RouteTable) -> list[str]:
    """Give the channels that no request reaches: none of their rows is a target, nor do unknown ids go there."""
    named = {target.channel for route in table.routes.values() for target in route.targets}
    return [name for name in table.channels if name not in named and name != table.unknown_ids_to]


def _today() -> date:
    return datetime.now(UTC).date()


def _rows(table: RouteTable, known: frozenset[Proof], *, wide: bool) -> Table:
    if wide:
        shown = terminal.table("channel", "owner", "kind", "row", "model sent", "surfaces", "price", "state")
    else:
        shown = terminal.table("channel", "row", "state")
    for channel in table.channels.values():
        for place, row in enumerate(channel.rows.values()):
            state = _state(channel, row, table, known)
            if wide:
                who = (words(channel.name, BOLD), words(channel.owner), words(channel.kind))
                shown.add_row(*who, words(row.name), _sent(row), words(surfaces(row.serves)), _price(row), state)
            else:
                shown.add_row(*_narrow(channel, row, is_first=place == 0), state)
    return shown


def _narrow(channel: Channel, row: Row, *, is_first: bool) -> tuple[Text, Text]:
    """Give the channel, named on its first row only, and the row with what is sent and served below it."""
    who = stacked(words(channel.name, BOLD), words(about(channel), DIM)) if is_first else Text()
    sent = words("" if row.model == row.name else f"as {row.model}")
    return who, stacked(words(row.name), sent, words(surfaces(row.serves), DIM), _price(row))


def _price(row: Row) -> Text:
    return words(price(row.price), WARN if row.price is None else DIM)


def _unpriced(table: RouteTable) -> list[str]:
    channels = table.channels.values()
    return [f"{channel.name}/{row.name}" for channel in channels for row in channel.rows.values() if row.price is None]


def _sent(row: Row) -> Text:
    return words(row.model, DIM if row.model == row.name else "")


def _state(channel: Channel, row: Row, table: RouteTable, known: frozenset[Proof]) -> Text:
    if channel.unready is not None:
        return words(channel.unready, WARN)
    waiting = unproven(channel, row, known)
    if waiting:
        return words("not verified" if len(waiting) == len(row.serves) else f"not verified: {surfaces(waiting)}", WARN)
    targets = [target for route in table.routes.values() for target in route.targets if target.channel == channel.name]
    if targets and all(target.unusable is not None for target in targets):
        return words(reason(targets[0].unusable or "", channel), DIM)
    return words("ready", GOOD)


def _routes(table: RouteTable, *, wide: bool) -> Table:
    columns = ("route", "targets, in order", "default for", ">deadline", ">attempts")
    shown = terminal.table(*(columns if wide else columns[:3]))
    for route in table.routes.values():
        targets = Text("\n").join(_targets(route, table))
        default = words(surfaces(route.default_for), "")
        notes = [words(line, DIM) for line in (*_order(route), *bounds(route))]
        cells = [stacked(words(route.name, BOLD), *notes), targets, default]
        if wide:
            cells += [words(f"{route.deadline_s:g} s"), words(str(route.max_attempts))]
        shown.add_row(*cells)
    return shown


def _order(route: Route) -> list[str]:
    return [] if route.policy is Policy.PRIORITY else [route.policy.value]


def _targets(route: Route, table: RouteTable) -> list[Text]:
    lines = []
    for target in route.targets:
        name = target.channel if target.row == route.name else target.name
        if target.unusable is None:
            lines.append(words(f"{name}  ready", GOOD).append_text(words(rank(target, route.policy), DIM)))
        else:
            why = reason(target.unusable, table.channels[target.channel])
            lines.append(words(name, DIM).append_text(words(f"  {why}", DIM)))
    return lines


def _mistake_json(mistake: Mistake) -> JsonObject:
    return {
        "file": mistake.file,
        "line": mistake.line,
        "column": mistake.column,
        "path": mistake.path,
        "message": mistake.message,
    }


def _loaded_json(loaded: Loaded) -> JsonObject:
    table, known = loaded.table, proofs(loaded)
    return {
        "ok": True,
        "path": str(loaded.path),
        "version": table.version,
        "channels": [_channel_json(channel, known) for channel in table.channels.values()],
        "routes": [_route_json(route) for route in table.routes.values()],
        "retiring": [
            {"target": row.target, "model": row.model, "retired_on": row.retired_on.isoformat(), "over": row.is_over}
            for row in retiring(table, _today())
        ],
        "warnings": [_mistake_json(warning) for warning in loaded.warnings],
        "unrouted": list(_unrouted(table)),
        "missing_extras": [
            {"extra": extra.name, "path": extra.path, "install": how_to_install(extra.name)}
            for extra in _missing_extras(loaded.settings)
        ],
    }


def _channel_json(channel: Channel, known: frozenset[Proof]) -> JsonObject:
    return {
        "name": channel.name,
        "owner": channel.owner,
        "kind": channel.kind,
        "api": channel.api,
        "host": channel.host or None,
        "ready": channel.unready is None,
        "unready": channel.unready,
        "rows": [_row_json(channel, row, known) for row in channel.rows.values()],
    }


def _row_json(channel: Channel, row: Row, known: frozenset[Proof]) -> JsonObject:
    contract = {"contract": row.contract.name, "mode": row.contract.mode}
    charged = row.price
    price = None if charged is None else {"id": charged.id, "unit": charged.unit.value, "currency": charged.currency}
    waiting: list[JsonValue] = [surface.value for surface in unproven(channel, row, known)]
    return {
        "name": row.name,
        "model": row.model,
        "serves": sorted(row.serves),
        **contract,
        "price": price,
        "require": "verified" if row.must_be_verified else None,
        "not_verified": waiting,
    }


def _route_json(route: Route) -> JsonObject:
    return {
        "name": route.name,
        "deadline_s": route.deadline_s,
        "max_attempts": route.max_attempts,
        "default_for": sorted(route.default_for),
        "policy": route.policy,
        "rules": len(route.when),
        "on_failure": {kind.value: action.value for kind, action in route.on_failure.items()},
        "max_cost": None if route.max_cost is None else str(route.max_cost),
        "downgrade": [{"on": step.on, "set": dict(step.sets), "same": step.stays} for step in route.downgrade],
        "repeats": {kind.value: times for kind, times in route.repeats.items()},
        "targets": [_target_json(target) for target in route.targets],
    }


def _target_json(target: RouteTarget) -> JsonObject:
    return {
        "channel": target.channel,
        "row": target.row,
        "unusable": target.unusable,
        "weight": target.weight,
        "substitute": target.substitute,
    }
