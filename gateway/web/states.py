"""What a path of the API asks for, by method: a new picture or turn, or something about a Response that is kept.

Rules: a path is looked up as it stands, decoded once; whatever stands where an id belongs is taken for one, however
odd, and whether anybody has it is asked later. Must never guess at slashes.
"""

from collections.abc import Mapping

from msgspec import Struct

from gateway.core.errand import Errand
from gateway.core.forecast import CHECK
from gateway.core.types import Surface

_POSTS: Mapping[str, Surface] = {f"/v1/{surface.value}": surface for surface in Surface}
_KEPT = "/v1/responses/"
_WITH_BODY: Mapping[str, Errand] = {"input_tokens": Errand.INPUT_TOKENS, "compact": Errand.COMPACT}


class Wanted(Struct, frozen=True, kw_only=True):
    """A request of the API. ``subject`` is the id of the Response it is about, as it stood in the path.

    ``is_check``: what would become of a body of one of the images surfaces is asked; which of them, the body tells.
    """

    surface: Surface
    errand: Errand = Errand.CREATE
    subject: str | None = None
    is_check: bool = False

    @property
    def endpoint(self) -> str:
        """The record's ``endpoint``."""
        if self.is_check:
            return CHECK
        return self.surface.value if self.surface.is_images else self.errand.value


def wanted(path: str) -> Mapping[str, Wanted]:
    """Give what each method of a path asks for; nothing when the path is none of these."""
    surface = _POSTS.get(path)
    if surface is not None:
        return {"POST": Wanted(surface=surface)}
    if path == f"/v1/{CHECK}":
        return {"POST": Wanted(surface=Surface.EDITS, is_check=True)}
    below = path.removeprefix(_KEPT)
    if below == path or not below.strip("/"):
        return {}
    if below in _WITH_BODY:
        return {"POST": Wanted(surface=Surface.RESPONSES, errand=_WITH_BODY[below])}
    name, _, last = below.rpartition("/")
    if name and last == "cancel":
        return {"POST": _about(Errand.CANCEL, name)}
    if name and last == "input_items":
        return {"GET": _about(Errand.INPUT_ITEMS, name)}
    return {"GET": _about(Errand.RETRIEVE, below), "DELETE": _about(Errand.DELETE, below)}


def _about(errand: Errand, name: str) -> Wanted:
    return Wanted(surface=Surface.RESPONSES, errand=errand, subject=name)
