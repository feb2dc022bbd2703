"""The image tool's model in a Responses request: which row of a channel it means there, and the word that is sent.

Rules: a model with a route means the row that the route targets on this channel, else the row of that name. A dead name
that nobody knows means its successor (``core/legacy``). A model that is known on other channels only has no name here;
one that is known nowhere travels as it is; absent stays absent.
"""

from msgspec import Struct

from gateway.core.legacy import successor
from gateway.core.table import Channel, RouteTable, Row
from gateway.core.types import Facts


class ToolModel(Struct, frozen=True, kw_only=True):
    """What the tool's model is on a channel: the word to send, and its row when it has one.

    ``is_unnamed``: it is known, but not on this channel. ``is_translated``: the caller's word was a dead name.
    """

    word: str | None = None
    row: Row | None = None
    is_unnamed: bool = False
    is_translated: bool = False


def tool_model(facts: Facts, channel: Channel, table: RouteTable) -> ToolModel:
    """Resolve the image tool's model on a channel."""
    asked = facts.tool.asked_model if facts.tool is not None else None
    if asked is None:
        return ToolModel()
    now = asked if _is_known(asked, table) else successor(table.legacy, asked, table.routes) or asked
    route = table.routes.get(now)
    on_route = [target.row for target in route.targets if target.channel == channel.name] if route else []
    row = channel.rows.get(on_route[0] if on_route else now)
    if row is not None:
        return ToolModel(word=row.model, row=row, is_translated=now != asked)
    return ToolModel(is_unnamed=True) if _is_known(now, table) else ToolModel(word=asked)


def _is_known(model: str, table: RouteTable) -> bool:
    return model in table.routes or any(model in channel.rows for channel in table.channels.values())
