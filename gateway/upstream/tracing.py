"""Gives each call that continues a caller's trace a span of its own.

The codec passes the caller's ``traceparent`` on; here its parent becomes this attempt, so that two attempts of one
request are two spans. Nothing is exported from here and no other header is touched.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

from msgspec.structs import replace

from gateway.core.traceparent import in_span
from gateway.ports import Broken, Call, Exchange, Growing, Lead, Leader, Sender

TRACEPARENT = "traceparent"


class _Both(Sender, Leader, Protocol):
    """What it stands around."""


class Traced:
    """A sender around another one; implements ``ports.Sender`` and ``ports.Leader``.

    ``new_span_id`` gives 16 hexadecimal digits.
    """

    def __init__(self, sender: "_Both", new_span_id: Callable[[], str]) -> None:
        self._sender = sender
        self._new_span_id = new_span_id

    def send(self, call: Call) -> Awaitable[Exchange | Broken]:
        """Send, in a new span when there is a trace."""
        return self._sender.send(self._spanned(call))  # not awaited here: one more frame for as long as it takes

    def lead(self, call: Call, growing: Growing, over: Callable[[], None]) -> Lead:
        """Begin, in a new span when there is a trace; the call goes on in the span that it began in."""
        return self._sender.lead(self._spanned(call), growing, over)

    def _spanned(self, call: Call) -> Call:
        if not any(name == TRACEPARENT for name, _ in call.wire.headers):
            return call
        headers = tuple(
            (name, in_span(value, self._new_span_id()) if name == TRACEPARENT else value)
            for name, value in call.wire.headers
        )
        return replace(call, wire=replace(call.wire, headers=headers))
