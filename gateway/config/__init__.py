"""The routes file and the environment -> ``Settings`` and ``RouteTable``, or every mistake at once.

``load`` is the door; ``find_routes`` says which file; ``json_schema`` describes it to editors; ``settings_env`` reads
``WAYBILL_*``; ``environment.current`` is the one look at the process's environment. Nothing here keeps state.
"""

from gateway.config.environment import ProcessSettings, current, settings_env
from gateway.config.load import Loaded, find_routes, load
from gateway.config.mistake import Mistake
from gateway.config.model import json_schema
from gateway.config.troubles import trouble_rules

__all__ = [
    "Loaded",
    "Mistake",
    "ProcessSettings",
    "current",
    "find_routes",
    "json_schema",
    "load",
    "settings_env",
    "trouble_rules",
]
