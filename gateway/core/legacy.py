"""Names and values of models that are gone, in the words of those that are there.

A client that was written for ``dall-e-3`` asks for a model and for values that nobody takes any more. The successors
are data (``catalog/legacy.yaml``); a route of the dead name goes before them, and a value is translated only for a
model that does not take it, so nothing that works is changed.
"""

from collections.abc import Container, Mapping

from msgspec import Struct, field


class Legacy(Struct, frozen=True, kw_only=True):
    """``models``: dead name -> its successors, best first. ``values``: parameter -> old value -> new value.

    ``results``: dead name -> the form (``url``) in which it gave its pictures when nobody asked for another.
    """

    models: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    results: Mapping[str, str] = field(default_factory=dict)


def successor(legacy: Legacy, model: str, routes: Container[str]) -> str | None:
    """Give the first successor of a dead model that there is a route for."""
    return next((name for name in legacy.models.get(model, ()) if name in routes), None)
