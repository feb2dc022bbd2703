"""What is known of a kept picture: whose it is, what it came from, where it lies and how long.

An asset is one delivered (or given) picture of one request, with its own id, end and verdict; the *blob* below it is
the bytes, shared by all assets with the same hash. Pure: ids and times are given in.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Final, NewType

from msgspec import Struct
from msgspec.structs import replace

from gateway.core.types import Facts, ImageFacts, InputFacts, InputRole, RequestId

AssetId = NewType("AssetId", str)

PREFIX: Final = "ast"
MOST_PARENTS: Final = 100  # of one picture

DELETION_POLICY: Final = "expires; earlier when the store is full, unaccepted first"

_MEDIA_TYPES: Final[Mapping[str, str]] = {
    "png": "image/png",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "svg": "image/svg+xml",
}
_OCTETS: Final = "application/octet-stream"


class Verdict(StrEnum):
    """What a person thinks of a picture."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Parent(Struct, frozen=True, kw_only=True):
    """A kept picture that another one was made from, and what it was given as."""

    asset_id: AssetId
    role: InputRole


class Asset(Struct, frozen=True, kw_only=True):
    """One kept picture. ``scope`` is its owner's (``Principal.scope``).

    ``path``: where its bytes lie, in the store's own words. ``url``: signed, valid until ``expires``. ``is_stored``:
    the bytes are in the store; when not, they wait beside it and are tried again.
    """

    asset_id: AssetId
    request_id: RequestId
    scope: str
    time: datetime
    expires: datetime
    image: ImageFacts
    path: str
    model: str | None = None  # the client's word
    url: str | None = None
    is_stored: bool = True
    verdict: Verdict | None = None
    parents: tuple[Parent, ...] = ()

    @property
    def media_type(self) -> str:
        """The type its bytes are served with."""
        return media_type_of(self.image)

    @property
    def file_name(self) -> str:
        """A name to save it under."""
        return file_name_of(self.asset_id, self.image)


def media_type_of(image: ImageFacts) -> str:
    """Give the type that bytes of this format are served with."""
    return _MEDIA_TYPES.get(image.format, _OCTETS)


def file_name_of(asset_id: str, image: ImageFacts) -> str:
    """Give a name to save a picture under."""
    return f"{asset_id}.{image.format if image.format in _MEDIA_TYPES else 'bin'}"


def given_hashes(facts: Facts) -> Sequence[str]:
    """Give the hashes of all pictures that a request brought, each once."""
    given = _given(facts)
    return tuple(dict.fromkeys([one.image.sha256 for one in given if one.image is not None])) if given else ()


def parents_of(facts: Facts, known: Mapping[str, Sequence[AssetId]]) -> tuple[Parent, ...]:
    """Give what a picture of this request comes from; ``known``: assets by hash, newest first."""
    if not known:
        return ()
    found = (
        Parent(asset_id=asset_id, role=one.role)
        for one in _given(facts)
        if one.image is not None
        for asset_id in known.get(one.image.sha256, ())
    )
    return tuple(dict.fromkeys(found))[:MOST_PARENTS]


def with_ids(facts: Facts, known: Mapping[str, Sequence[AssetId]]) -> Facts:
    """Say of every picture that a request brought which asset it is, the newest where there are several."""
    if not known:
        return facts

    def named(one: InputFacts) -> InputFacts:
        ids = known.get(one.image.sha256, ()) if one.image is not None else ()
        return replace(one, asset_id=ids[0]) if ids else one

    return replace(
        facts,
        inputs=tuple(named(one) for one in facts.inputs),
        mask=named(facts.mask) if facts.mask is not None else None,
        markup=named(facts.markup) if facts.markup is not None else None,
    )


def verdict_of(verdicts: Iterable[Verdict | None]) -> Verdict | None:
    """Give the verdict on a request by those on its pictures: one that is accepted decides, then one rejected."""
    said = set(verdicts)
    return next((word for word in (Verdict.ACCEPTED, Verdict.REJECTED) if word in said), None)


def _given(facts: Facts) -> Sequence[InputFacts]:
    if facts.mask is None and facts.markup is None:
        return facts.inputs
    return (*facts.inputs, *(one for one in (facts.mask, facts.markup) if one is not None))
