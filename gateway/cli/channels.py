"""``waybill channels``: how the channels of a running gateway stand, and their hand brakes.

Everything goes through the gateway's own ``/api/channels``, so that it takes effect at once. Exit 0 when it was done, 1
when the gateway refused or could not be reached, 2 for a bad option.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated
from urllib.parse import quote

import typer
from msgspec import Struct
from rich.table import Table
from rich.text import Text

from gateway.cli import client, terminal
from gateway.cli.options import Json, ServedConfig, ServedDir, Url
from gateway.cli.setting import Setting, base_url, setting
from gateway.cli.standing import answer_of, health, objects, operator_key, standing, state, until_words
from gateway.cli.terminal import BOLD, DIM, is_wide, stacked, words
from gateway.core.brake import BrakeState
from gateway.core.table import Secret
from gateway.core.types import JsonObject

_AFTER = re.compile(r"([0-9]{1,6})\s?(m|h|d)")
_UNITS: Mapping[str, timedelta] = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

Name = Annotated[str, typer.Argument(help="A channel of the routes file.", metavar="NAME", show_default=False)]
Until = Annotated[
    str | None,
    typer.Option(
        "--until",
        help="When the brake is released by itself: after 30m, 2h or 1d, or at a time such as 2026-11-20T12:00:00Z.",
        metavar="WHEN",
    ),
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, in one line; shown wherever the brake is.")]

channels = typer.Typer(no_args_is_help=True, help="Show the channels of a running gateway, and stop or start them.")


@channels.command("list")
def list_channels(
    *, url: Url = None, config: ServedConfig = None, data_dir: ServedDir = None, as_json: Json = False
) -> None:
    """Show how each channel stands: its hand brake, calls under way, and which rows rest."""
    found = setting(config=config, data_dir=data_dir)
    document = standing(url, found)
    if as_json:
        terminal.print_json(document)
        return
    screen = terminal.console(found.env)
    screen.print(_table(document, wide=is_wide(screen)))


def _table(document: JsonObject, *, wide: bool) -> Table:
    """Give a line for each row; where there is not much room, a channel's calls stand below its state."""
    shown = terminal.table("channel", "state", *((">in flight",) if wide else ()), "row", "health")
    shown.columns[-2].no_wrap = True
    for one in objects(document.get("data")):
        who = words(str(one["channel"]), BOLD)
        load = f"{one['in_flight']} of {one['max_in_flight']}"
        stand = [state(one), words(load)] if wide else [stacked(state(one), words(f"{load} in flight", DIM))]
        for place, row in enumerate(objects(one.get("rows"))):
            first = [who, *stand] if place == 0 else [Text() for _ in (who, *stand)]
            shown.add_row(*first, words(str(row["row"])), health(one, row))
    return shown


@channels.command()
def drain(
    name: Name,
    *,
    until: Until = None,
    reason: Reason = None,
    url: Url = None,
    config: ServedConfig = None,
    data_dir: ServedDir = None,
    as_json: Json = False,
) -> None:
    """Give a channel no new work. What is under way finishes; follow-ups that only it can serve still go there."""
    wanted = {"state": BrakeState.DRAINED.value, "until": _moment(until), "reason": reason}
    _brake(name, wanted, _gateway(url, setting(config=config, data_dir=data_dir)), as_json=as_json)


@channels.command()
def off(
    name: Name,
    *,
    until: Until = None,
    reason: Reason = None,
    url: Url = None,
    config: ServedConfig = None,
    data_dir: ServedDir = None,
    as_json: Json = False,
) -> None:
    """Send nothing to a channel any more. What is under way finishes."""
    wanted = {"state": BrakeState.OFF.value, "until": _moment(until), "reason": reason}
    _brake(name, wanted, _gateway(url, setting(config=config, data_dir=data_dir)), as_json=as_json)


@channels.command()
def on(
    name: Name,
    *,
    reason: Reason = None,
    url: Url = None,
    config: ServedConfig = None,
    data_dir: ServedDir = None,
    as_json: Json = False,
) -> None:
    """Release a channel's hand brake, and try its resting rows again."""
    _brake(
        name,
        {"state": BrakeState.ON.value, "reason": reason},
        _gateway(url, setting(config=config, data_dir=data_dir)),
        as_json=as_json,
    )


class _Gateway(Struct, frozen=True, kw_only=True):
    """Who is asked, and with which key."""

    base: str
    key: Secret | None


def _gateway(url: str | None, found: Setting) -> _Gateway:
    return _Gateway(base=base_url(url, found), key=operator_key(found))


def _brake(name: str, wanted: JsonObject, gateway: _Gateway, *, as_json: bool) -> None:
    document = answer_of(client.post(f"{gateway.base}/api/channels/{quote(name, safe='')}", wanted, gateway.key))
    if as_json:
        terminal.print_json(document, pretty=False)
        return
    end = f" {until_words(document['until'])}" if document.get("until") else ""
    typer.echo(f"{name} is {document.get('state')}{end}")


def _moment(until: str | None) -> str | None:
    match = _AFTER.fullmatch(until or "")
    if match is None:
        return until
    return (datetime.now(UTC) + int(match[1]) * _UNITS[match[2]]).isoformat(timespec="seconds")
