"""Gives each call that continues a caller's trace a span of its own.

The codec passes the caller's ``traceparent`` on; here its parent becomes this attempt, so that two attempts of one
request are two spans. Nothing is exported from here and no other header is touched.
"""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from gateway.core.traceparent import in_span
from gateway.ports import Broken, Call, Exchange, Sender

TRACEPARENT = "traceparent"


class Traced:
    """A sender around another one; implements ``ports.Sender``. ``new_span_id`` gives 16 hexadecimal digits."""

    def __init__(self, sender: Sender, new_span_id: Callable[[], str]) -> None:
        self._sender = sender
        self._new_span_id = new_span_id

    def send(self, call: Call) -> Awaitable[Exchange | Broken]:
        """Send, in a new span when there is a trace."""
        if any(name == TRACEPARENT for name, _ in call.wire.headers):
            headers = tuple(
                (name, in_span(value, self._new_span_id()) if name == TRACEPARENT else value)
                for name, value in call.wire.headers
            )
            call = replace(call, wire=replace(call.wire, headers=headers))
        return self._sender.send(call)  # not awaited here: that would be one more frame for as long as it takes
