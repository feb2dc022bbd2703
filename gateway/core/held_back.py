"""Which channels are not asked at this moment although they have credentials, and why; for those who watch. Pure."""

from gateway.core.health import TargetId, standing
from gateway.core.table import Channel, RouteTable
from gateway.core.view import View


def held_back(table: RouteTable, view: View) -> dict[str, str]:
    """Give the reason of each: its hand brake (``drained``, ``off``), or what bars every row of it."""
    found = {name: _reason(channel, view) for name, channel in table.channels.items() if channel.unready is None}
    return {name: reason for name, reason in found.items() if reason is not None}


def _reason(channel: Channel, view: View) -> str | None:
    brake = view.brake(channel.name)
    if brake is not None:
        return brake.at(view.wall).value
    bars = [standing(view.health, TargetId(channel.name, row), view.now).last for row in channel.rows]
    last = max((bar for bar in bars if bar is not None), key=lambda bar: bar.until, default=None)
    return last.trouble.value if last is not None and None not in bars else None
