"""Which targets are ready where requests go: at the running gateway, whose keys this shell need not have.

The routes file at hand stays what is planned with; only what the environment decided about it is the gateway's. A
gateway that does not tell (no operator's key) leaves the table as this shell's environment made it.
"""

from collections.abc import Mapping

from msgspec import Struct
from msgspec.structs import replace

from gateway.cli import client
from gateway.cli.delivery import items, text
from gateway.cli.standing import ask_operator
from gateway.core.bindings import fingerprint
from gateway.core.table import Channel, Route, RouteTable, Secret
from gateway.core.types import JsonObject


class Readiness(Struct, frozen=True, kw_only=True):
    """A table whose targets are as ready as the gateway says; ``silence``: why it says nothing, when it does not.

    ``accounts``: by channel, which account it has there, as far as that is known.
    """

    table: RouteTable
    accounts: Mapping[str, str]
    silence: str | None = None


def readiness(table: RouteTable, base: str, key: Secret | None) -> Readiness:
    """Ask the gateway at ``base`` for its table."""
    ours = {name: fingerprint(one) for name, one in table.channels.items() if one.unready is None}
    reply = ask_operator(f"{base}/api/routes", key)
    if isinstance(reply, client.Unreached):
        return Readiness(table=table, accounts=ours, silence=f"the gateway at {base} cannot be asked: {reply.why}")
    if reply.status != 200 or reply.document is None:
        why = "set WAYBILL_ADMIN_KEY" if reply.status in {401, 403} else f"it answered {reply.status}"
        return Readiness(table=table, accounts=ours, silence=f"the gateway does not say which are ready there: {why}")
    channels = {str(one.get("channel")): one for one in items(reply.document.get("channels"))}
    routes = {str(one.get("route")): one for one in items(reply.document.get("routes"))}
    there = replace(
        table,
        channels={name: _channel(one, channels.get(name)) for name, one in table.channels.items()},
        routes={name: _route(one, routes.get(name)) for name, one in table.routes.items()},
    )
    theirs = {name: account for name, one in channels.items() if (account := text(one.get("account"))) is not None}
    return Readiness(table=there, accounts={**ours, **theirs})


def _channel(ours: Channel, theirs: JsonObject | None) -> Channel:
    return ours if theirs is None else replace(ours, unready=text(theirs.get("unready")))


def _route(ours: Route, theirs: JsonObject | None) -> Route:
    if theirs is None:
        return ours
    told = {(one.get("channel"), one.get("row")): one for one in items(theirs.get("targets"))}
    targets = (
        replace(target, unusable=text(told[target.channel, target.row].get("unusable")))
        if (target.channel, target.row) in told
        else target
        for target in ours.targets
    )
    return replace(ours, targets=tuple(targets))
