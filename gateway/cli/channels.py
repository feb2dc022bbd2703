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
from rich.text import Text

from gateway.cli import client, terminal
from gateway.cli.options import Json, Url
from gateway.cli.setting import base_url, setting
from gateway.cli.standing import answer_of, health, objects, operator_key, standing, state
from gateway.cli.terminal import BOLD, words
from gateway.core.brake import BrakeState
from gateway.core.types import JsonObject

_AFTER = re.compile(r"([0-9]{1,6})\s?(m|h|d)")
_UNITS: Mapping[str, timedelta] = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}

Name = Annotated[str, typer.Argument(help="A channel of the routes file.", metavar="NAME", show_default=False)]
Until = Annotated[
    str | None, typer.Option("--until", help="When the brake ends by itself: 2h, 30m, 1d or a time.", metavar="WHEN")
]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, in one line; whoever looks will read it.")]

channels = typer.Typer(no_args_is_help=True, help="Show the channels of a running gateway, and stop or start them.")


@channels.command("list")
def list_channels(*, url: Url = None, as_json: Json = False) -> None:
    """Show how each channel stands: its hand brake, calls under way, and which rows rest."""
    found = setting()
    document = standing(url, found)
    if as_json:
        terminal.print_json(document)
        return
    shown = terminal.table("channel", "state", ">in flight", "row", "health")
    for one in objects(document.get("data")):
        who = words(str(one["channel"]), BOLD)
        load = words(f"{one['in_flight']} of {one['max_in_flight']}")
        for place, row in enumerate(objects(one.get("rows"))):
            first = (who, state(one), load) if place == 0 else (Text(), Text(), Text())
            shown.add_row(*first, words(str(row["row"])), health(row))
    terminal.console(found.env).print(shown)


@channels.command()
def drain(name: Name, *, until: Until = None, reason: Reason = None, url: Url = None, as_json: Json = False) -> None:
    """Let a channel take no new work; what is under way ends, and follow-ups that only it can serve still go there."""
    _brake(name, {"state": BrakeState.DRAINED.value, "until": _moment(until), "reason": reason}, url, as_json=as_json)


@channels.command()
def off(name: Name, *, until: Until = None, reason: Reason = None, url: Url = None, as_json: Json = False) -> None:
    """Send nothing to a channel any more."""
    _brake(name, {"state": BrakeState.OFF.value, "until": _moment(until), "reason": reason}, url, as_json=as_json)


@channels.command()
def on(name: Name, *, reason: Reason = None, url: Url = None, as_json: Json = False) -> None:
    """Take the hand brake off, and forget the channel's troubles."""
    _brake(name, {"state": BrakeState.ON.value, "reason": reason}, url, as_json=as_json)


def _brake(name: str, wanted: JsonObject, url: str | None, *, as_json: bool) -> None:
    found = setting()
    reply = client.post(f"{base_url(url, found)}/api/channels/{quote(name, safe='')}", wanted, operator_key(found))
    document = answer_of(reply)
    if as_json:
        terminal.print_json(document, pretty=False)
        return
    end = f" until {document['until']}" if document.get("until") else ""
    typer.echo(f"{name} is {document.get('state')}{end}")


def _moment(until: str | None) -> str | None:
    match = _AFTER.fullmatch(until or "")
    if match is None:
        return until
    return (datetime.now(UTC) + int(match[1]) * _UNITS[match[2]]).isoformat(timespec="seconds")
