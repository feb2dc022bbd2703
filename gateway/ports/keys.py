"""The seams to virtual keys: what the door asks with every request, and what an operator may do about them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from gateway.core.keys import KeyFacts, KeyRow, NewKey


class Keys(Protocol):
    """What is known of keys, at most a second old, whichever process changed it.

    Every method raises ``LedgerUnavailable`` when that cannot be said.
    """

    async def exist(self) -> bool:
        """Whether a key was ever made."""
        ...

    async def rule(self) -> bool:
        """Whether there is a key that opens the operator's calls."""
        ...

    async def find(self, digest: str) -> KeyFacts | None:
        """Give the key of this digest; ``None``: there is none."""
        ...


class Tellers(Protocol):
    """The servers that may tell an operator the same thing: one of them does.

    Every method blocks, for a moment, and raises ``LedgerUnavailable``.
    """

    def first(self, about: str, now: datetime, repeat_s: float) -> bool:
        """Whether nobody has told it for ``repeat_s``; then it counts as told."""
        ...

    def last(self, about: str) -> bool:
        """Whether it was told and nobody has told its end; then that counts as told."""
        ...


class KeyOffice(Protocol):
    """Makes and changes keys. Every method blocks, and raises ``LedgerUnavailable`` when nothing was changed."""

    def create(self, key_id: str, text: str, terms: NewKey, now: datetime) -> None:
        """Keep a new key; of ``text``, the key itself, only the digest is kept."""
        ...

    def listed(self, now: datetime) -> Sequence[KeyRow]:
        """Give all keys, newest first."""
        ...

    def revoke(self, key_id: str, now: datetime) -> bool:
        """End a key for ever; ``False``: there is none of this id. Again changes nothing."""
        ...

    def credit(self, key_id: str, grant_id: str, amount: int, now: datetime) -> KeyRow | None:
        """Add to a key's balance; ``None``: there is no such key, or it was revoked."""
        ...
