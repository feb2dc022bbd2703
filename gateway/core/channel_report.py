"""How every channel stands, for the operator: its hand brake, what is under way, which rows rest and why. Pure."""

from collections.abc import Mapping

from gateway.core.health import TargetId, standing
from gateway.core.record import timestamp
from gateway.core.table import Channel, RouteTable
from gateway.core.types import JsonObject
from gateway.core.view import View


def channel_report(table: RouteTable, view: View, inside: Mapping[str, int]) -> JsonObject:
    """Give ``{"data": [...]}``, the channels in the order of the routes file. ``inside``: calls under way at each."""
    return {"data": [_channel(channel, view, inside.get(channel.name, 0)) for channel in table.channels.values()]}


def _channel(channel: Channel, view: View, in_flight: int) -> JsonObject:
    brake = view.brake(channel.name)
    rates = channel.limits
    return {
        "channel": channel.name,
        "owner": channel.owner,
        "kind": channel.kind.value,
        "state": "on" if brake is None else brake.state.value,
        "until": timestamp(brake.until) if brake and brake.until else None,
        "reason": brake.reason if brake else None,
        "unready": channel.unready,
        "in_flight": in_flight,
        "max_in_flight": channel.max_in_flight,
        "limits": {
            "rpm": rates.requests.per_minute if rates.requests else None,
            "ipm": rates.images.per_minute if rates.images else None,
        },
        "rows": [_row(channel, row, view) for row in channel.rows],
    }


def _row(channel: Channel, row: str, view: View) -> JsonObject:
    stand = standing(view.health, TargetId(channel.name, row), view.now)
    bar = stand.last
    return {
        "row": row,
        "resting": None if bar is None else bar.trouble.value,
        "back_in_s": None if bar is None else round(bar.until - view.now, 1),
        "on_probation": stand.is_probe,
    }
