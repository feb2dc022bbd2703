"""Who may act as the operator: ``/api/*`` and, from elsewhere than this machine, ``/metrics``.

With an operator's key set, whoever shows it; and whoever shows a virtual key with the scope ``admin``. While there is
neither of the two, only this machine: a loopback peer that names a loopback host (a page of the web that had its own
name resolved to 127.0.0.1 does not), that is not a browser acting for another site, and that no proxy has forwarded. A
gateway that others can reach and that has no key lets nobody in. A good key without the scope opens nothing here.

Must never tell a wrong key from none, by its answer or by its time.
"""

import hashlib
import hmac
import re
from collections.abc import Mapping

from msgspec import Struct
from starlette.types import Scope

from gateway.core.netguard import FORWARDED, is_loopback
from gateway.core.principal import KeyScope, Principal
from gateway.core.table import Secret
from gateway.ports import LedgerUnavailable
from gateway.web.arrival import headers_of
from gateway.web.auth import Gatekeeper
from gateway.web.errors import OperatorError

_BEARER = re.compile(r"bearer +(\S+)", re.IGNORECASE)
_OWN_FETCHES = (None, "same-origin", "none")

_NO_KEY = (
    "This call needs the operator's key: Authorization: Bearer and the value of WAYBILL_ADMIN_KEY, or a key with the "
    "scope admin."
)
_NOT_ADMIN = "This key may not do this: it lacks the scope admin."
_UNREADABLE = "The gateway cannot look up keys right now. Try again shortly."
_CLOSED = "This gateway has no operator's key, so it takes such calls from its own machine only. Set WAYBILL_ADMIN_KEY."


class Door(Struct, frozen=True, kw_only=True):
    """``key``: the operator's. ``is_local``: the gateway listens on a loopback address only. ``gate`` knows keys."""

    key: Secret | None
    is_local: bool
    gate: Gatekeeper | None = None

    async def check_operator(self, scope: Scope) -> None:
        """Let the operator in. Raises ``OperatorError``."""
        headers = headers_of(scope)
        if self.key is not None and _shows(headers.get("authorization", ""), self.key):
            return
        try:
            shown, is_ruled = await self._shown(scope)
        except LedgerUnavailable as lost:
            raise OperatorError(503, _UNREADABLE) from lost
        if shown is not None:
            if KeyScope.ADMIN not in shown.scopes:
                raise OperatorError(403, _NOT_ADMIN)
        elif self.key is not None or is_ruled:
            raise OperatorError(401, _NO_KEY, headers=((b"www-authenticate", b"Bearer"),))
        elif not (self.is_local and _is_from_here(scope, headers)):
            raise OperatorError(403, _CLOSED)

    async def check_reader(self, scope: Scope) -> None:
        """Let in whoever reads figures: this machine, key or not, or the operator. Raises ``OperatorError``."""
        if not _is_from_here(scope, headers_of(scope)):
            await self.check_operator(scope)

    async def _shown(self, scope: Scope) -> tuple[Principal | None, bool]:
        """Give whose key a call shows, and whether there is a key that opens these calls."""
        if self.gate is None:
            return None, False
        return await self.gate.shown(scope), await self.gate.keys.rule()


def _shows(authorization: str, key: Secret) -> bool:
    """Compare in constant time: digests, so that not even the length tells."""
    match = _BEARER.fullmatch(authorization.strip())
    shown = match[1] if match is not None else ""
    return hmac.compare_digest(_digest(shown), _digest(key.reveal())) and match is not None


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def _is_from_here(scope: Scope, headers: Mapping[str, str]) -> bool:
    client = scope.get("client")
    host = headers.get("host", "")
    return (
        client is not None
        and is_loopback(client[0])
        and is_loopback(_name_of(host))
        and not any(name in headers for name in FORWARDED)
        and headers.get("sec-fetch-site") in _OWN_FETCHES
        and headers.get("origin") in (None, f"http://{host}", f"https://{host}")
    )


def _name_of(host: str) -> str:
    """Give a Host header's name without its port and brackets; the edge has checked its form."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0].lower()
