"""Who keeps what a request refers to: the one channel it may go to, or why it may go nowhere.

Rules: an id that nobody bound and one that is bound to another key are the same refusal, byte for byte. What is kept by
several accounts, or by one that is here no more, is refused: a follow-up never goes where its state is not. An item
that came with its content only hints at a channel. Pure.
"""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from msgspec import Struct

from gateway.core.errand import Reference
from gateway.core.fields import bad_value
from gateway.core.table import Channel, RouteTable
from gateway.core.types import Fault, Refusal

MAX_ID: Final = 512  # characters

_ID: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:=+@~-]{0,511}")
_FINGERPRINT_CHARS: Final = 32


class Binding(Struct, frozen=True, kw_only=True):
    """A channel and the account behind it (``fingerprint``), at the time of the answer."""

    channel: str
    fingerprint: str


def is_bindable(name: str) -> bool:
    """Whether an id is one that can be kept, and written into a path: plain ASCII, no slash, at most 512 characters."""
    return _ID.fullmatch(name) is not None


def fingerprint(channel: Channel) -> str:
    """Give 32 hexadecimal digits that change with the channel's address or its key, and tell neither."""
    key = "" if channel.api_key is None else channel.api_key.reveal()
    text = f"waybill account\0{channel.base_url}\0{key}"
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_FINGERPRINT_CHARS]


def binding_of(channel: Channel) -> Binding:
    """Give what is written for an id that this channel gave."""
    return Binding(channel=channel.name, fingerprint=fingerprint(channel))


def not_found(param: str | None = None) -> Refusal:
    """Refuse an id that this key does not have, whether or not anybody has it."""
    return Refusal(
        status=404,
        code="response_not_found",
        message="No response or item with this id can be found.",
        param=param,
    )


def destination(
    references: Sequence[Reference],
    found: Mapping[str, Binding],
    foreign: Collection[str],
    table: RouteTable,
) -> Channel | Refusal | None:
    """Give the channel that a request with these references must go to; ``None``: any.

    ``found`` is what the key has of them, ``foreign`` those of the others that another key has.
    """
    chosen: Binding | None = None
    for reference in references:
        if not reference.bare:
            continue
        binding = _binding(reference, found, foreign, table)
        if binding is None:
            return not_found(reference.param)
        if chosen is not None and binding != chosen:
            return bad_value(reference.param or "id", "what one request refers to must come from one channel.")
        chosen = binding
    if chosen is not None:
        return _holder(chosen, table)
    return _hinted([found[one.id] for one in references if one.id in found], table)


def _binding(
    reference: Reference, found: Mapping[str, Binding], foreign: Collection[str], table: RouteTable
) -> Binding | None:
    known = found.get(reference.id)
    if known is not None or reference.id in foreign or table.unknown_ids_to is None:
        return known
    return binding_of(table.channels[table.unknown_ids_to]) if is_bindable(reference.id) else None


def _holder(binding: Binding, table: RouteTable) -> Channel | Refusal:
    channel = table.channels.get(binding.channel)
    if channel is not None and fingerprint(channel) == binding.fingerprint:
        return channel
    return Refusal(
        status=503,
        code="no_healthy_target",
        message="The account that keeps what this request refers to is not configured here any more.",
        fault=Fault.ROUTING,
    )


def _hinted(bindings: Sequence[Binding], table: RouteTable) -> Channel | None:
    """Give the channel that all hints name, if they agree and it is still there."""
    if len(set(bindings)) != 1:
        return None
    holder = _holder(bindings[0], table)
    return holder if isinstance(holder, Channel) else None
