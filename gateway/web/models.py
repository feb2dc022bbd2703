"""The models a client may ask for: the routes that have at least one usable target.

Rules: what is listed can be asked for now, by the key that asks; a route whose every target lacks credentials is not
listed. A model is owned by the owner of its first usable target, the one that is tried first, and its contract is that
target's.
"""

from gateway.core.principal import ANYONE, Principal
from gateway.core.table import Route, RouteTable
from gateway.core.types import JsonObject, Surface

CREATED = 1_767_225_600  # 2026-01-01T00:00:00Z: the field is required and a route has no date of its own


def model_list(table: RouteTable, caller: Principal = ANYONE) -> JsonObject:
    """Give the usable routes that the caller may use as the API's list of models, in the file's order."""
    shown = (model_json(table, route) for route in table.routes.values() if caller.may_use(route.name))
    return {"object": "list", "data": [model for model in shown if model is not None]}


def model_json(table: RouteTable, route: Route) -> JsonObject | None:
    """Give a route as a model object, or nothing when no target of it is usable."""
    usable = [target for target in route.targets if target.unusable is None]
    if not usable:
        return None
    serves = frozenset[Surface]().union(*(table.channels[target.channel].rows[target.row].serves for target in usable))
    contract = table.channels[usable[0].channel].rows[usable[0].row].contract
    retires_on = contract.retired_on
    return {
        "id": route.name,
        "object": "model",
        "created": CREATED,
        "owned_by": table.channels[usable[0].channel].owner,
        "waybill": {
            "surfaces": [surface.value for surface in Surface if surface in serves],
            "contract": contract.name,
            "retires_on": None if retires_on is None else retires_on.isoformat(),
        },
    }
