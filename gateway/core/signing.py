"""Tokens that open one picture until a moment: signed, so that nobody can make or change one.

A token is 64 characters: 48 bytes in URL-safe base64, with no bit unused, so that each token has one spelling. They
hold the digits of the asset's id, the second at which it ends, and the first 27 bytes of an HMAC-SHA-256 over both.
Several keys may be in use: the newest signs, all verify. Must never tell by its time, or by anything else, why a token
is none: a text of any form costs the same work as a good one.
"""

import base64
import hmac
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from msgspec import Struct

from gateway.core.assets import PREFIX, AssetId
from gateway.core.ids import is_id
from gateway.core.keyed import Keyed

KEY_BYTES: Final = 32
TOKEN_CHARS: Final = 64

_CONTEXT: Final = b"waybill.asset.1\x00"
_ID_BYTES, _TIME_BYTES, _MAC_BYTES = 16, 5, 27
_SAID_BYTES: Final = _ID_BYTES + _TIME_BYTES
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{64}")
_NO_TOKEN: Final = "A" * TOKEN_CHARS


class Opened(Struct, frozen=True, kw_only=True):
    """What a good token opens, and when it ends."""

    asset_id: AssetId
    expires: datetime


class Signer:
    """Signs with the first of ``keys``, the newest; takes what any of them signed. At least one key."""

    __slots__ = ("_keys",)

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys:
            raise ValueError("a signer needs a key")
        self._keys = tuple(Keyed(key) for key in keys)

    def __repr__(self) -> str:
        return f"Signer({len(self._keys)} keys)"

    def sign(self, asset_id: AssetId, expires: datetime) -> str:
        """Give the token of an asset. Raises ``ValueError`` for what is no id of an asset."""
        if not is_id(PREFIX, asset_id):
            raise ValueError("not the id of an asset")
        said = bytes.fromhex(asset_id[len(PREFIX) + 1 :]) + int(expires.timestamp()).to_bytes(_TIME_BYTES, "big")
        return base64.urlsafe_b64encode(said + _mac(self._keys[0], said)).decode()

    def open(self, token: str, now: datetime) -> Opened | None:
        """Give what a token opens; nothing when it is none, was changed, or is over."""
        is_formed = _TOKEN.fullmatch(token) is not None
        raw = base64.urlsafe_b64decode(token if is_formed else _NO_TOKEN)
        said, mac = raw[:_SAID_BYTES], raw[_SAID_BYTES:]
        is_signed = False
        for key in self._keys:  # all of them, whichever fits
            is_signed |= hmac.compare_digest(mac, _mac(key, said))
        seconds = int.from_bytes(said[_ID_BYTES:], "big")
        if not (is_formed and is_signed) or seconds <= now.timestamp():
            return None
        asset_id = AssetId(f"{PREFIX}_{said[:_ID_BYTES].hex()}")
        return Opened(asset_id=asset_id, expires=datetime.fromtimestamp(seconds, UTC))


def _mac(key: Keyed, said: bytes) -> bytes:
    return key.digest(_CONTEXT + said)[:_MAC_BYTES]
