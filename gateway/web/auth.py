"""Who asks, decided from the head of every request of the API, before its body is read.

Rules: while no key was ever made, a gateway that only this machine reaches takes any Authorization or none. From the
first key on, and on any other address at once, exactly one bearer that is a good key is needed. A key that is unknown,
revoked, over or malformed, one of two, or none: the same answer in every byte, after the same work. What is compared
are digests, in constant time; a key is never kept, logged or repeated.
"""

import hmac
import re

from msgspec import Struct
from starlette.types import Scope

from gateway.core.keys import KeyFacts, digest_of
from gateway.core.principal import ANYONE, KeyScope, Principal
from gateway.ports import Clock, Keys, LedgerUnavailable
from gateway.web.errors import InvalidKey, KeysUnavailable, NoUse

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)


class Gatekeeper(Struct, frozen=True, kw_only=True):
    """Looks at keys. ``is_local``: the gateway listens on a loopback address only."""

    keys: Keys
    clock: Clock
    is_local: bool

    async def admit(self, scope: Scope) -> Principal:
        """Say who asks. Raises ``InvalidKey``, ``NoUse`` and ``KeysUnavailable``."""
        try:
            if self.is_local and not await self.keys.exist():
                return ANYONE
            found = await self.shown(scope)
        except LedgerUnavailable as lost:
            raise KeysUnavailable from lost
        if found is None:
            raise InvalidKey
        if KeyScope.USE not in found.scopes:
            raise NoUse
        return found

    async def shown(self, scope: Scope) -> Principal | None:
        """Give whose good key a request shows. Raises ``LedgerUnavailable``."""
        digest = digest_of(bearer(scope))
        found = await self.keys.find(digest)
        return found.principal if found is not None and self._is_good(found, digest) else None

    def _is_good(self, found: KeyFacts, digest: str) -> bool:
        return hmac.compare_digest(found.digest, digest) and found.is_good(self.clock.now())


def bearer(scope: Scope) -> str:
    """Give the one bearer that a request shows; an empty text stands for none, for two, and for what is no bearer."""
    shown = [value.decode("latin-1") for name, value in scope["headers"] if name == b"authorization"]
    match = _BEARER.fullmatch(shown[0].strip()) if len(shown) == 1 else None
    return "" if match is None else match[1]
