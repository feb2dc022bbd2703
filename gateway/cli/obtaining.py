"""Sending one commission to a gateway and waiting for what comes, as the SDKs do, but for the seconds they lack.

A gateway that says ``x-should-retry: true`` is asked again with the same bytes after the time it names: as long as it
takes when it is still making the picture, twice otherwise. When the connection to it breaks the request is sent again
only under the ``idempotency-key`` that it was sent with: then the gateway gives what it has made, and buys nothing.
"""

import socket
import time
from collections.abc import Callable, Mapping
from urllib.parse import urlsplit

from msgspec import Struct, field
from msgspec.structs import replace

from gateway.cli import client
from gateway.cli.client import Unreached
from gateway.cli.commission import Commission
from gateway.cli.delivery import Complaint, Delivery, Ear, deliver
from gateway.core.netguard import is_public
from gateway.core.table import Secret

AGAIN = 2
PAUSES_S = (0.5, 2.0, 5.0)  # before a request is sent again whose connection broke
ASSETS = "/assets/"  # where a gateway serves pictures
MOST_PICTURE_BYTES = 256_000_000
IDEMPOTENCY_KEY = "idempotency-key"
STILL_MADE = "in_progress"


class Desk(Struct, frozen=True, kw_only=True):
    """Where commissions are sent. ``timeout_s`` bounds one commission, all its tries together."""

    base: str
    key: Secret | None
    timeout_s: float
    headers: Mapping[str, str] = field(default_factory=dict)

    def obtain(
        self,
        asked: Commission,
        on_preview: Callable[[int, bytes], None] = lambda _number, _data: None,
        say: Callable[[str], None] = lambda _what: None,
    ) -> Delivery | Unreached:
        """Send it and give what came: a delivery, also of an error, or that nothing came."""
        letter = asked.letter(self.base, self.headers)
        end = time.monotonic() + self.timeout_s
        tries = 0
        pauses = list(PAUSES_S) if IDEMPOTENCY_KEY in letter.headers else []
        was_sent = False
        while True:
            ear = Ear(on_preview=on_preview)
            left = max(1.0, end - time.monotonic())
            answer = client.send(letter, timeout_s=left, api_key=self.key, listen=ear.listen)
            if isinstance(answer, Unreached):
                was_sent = was_sent or answer.sent
                if answer.was_late:  # of all tries together, as it was asked for
                    answer = replace(answer, why=client.late(self.timeout_s))
                if not (was_sent and pauses and time.monotonic() + pauses[0] < end):
                    return replace(answer, sent=was_sent)
                say(f"the connection broke: {answer.why}; asking for the same picture")
                time.sleep(pauses.pop(0))
                continue
            delivery = deliver(answer, ear)
            after = delivery.after_s()
            goes_on = delivery.complaint is not None and delivery.complaint.code == STILL_MADE
            tries += not goes_on
            if after is None or tries > AGAIN or time.monotonic() + after > end:
                return delivery
            say("still being made" if goes_on else f"told to come back in {after:g} s")
            time.sleep(after)

    def picture_at(self, link: str) -> bytes | None:
        """Fetch a picture that came as an address: of the gateway's own, or a public one. No key goes along."""
        try:
            there = urlsplit(link)
            host, port = there.hostname or "", there.port
        except ValueError:
            return None
        if there.path.startswith(ASSETS):  # whatever name the gateway has for itself, here it is
            own = self._fetched(f"{self.base}{there.path}")
            if own is not None:
                return own
        is_web = there.scheme in {"http", "https"}
        return self._fetched(link) if is_web and _is_public(host, port) else None

    def _fetched(self, url: str) -> bytes | None:
        letter = client.Letter(method="GET", url=url, headers={"accept": "image/*"})
        answer = client.send(letter, timeout_s=self.timeout_s, most_bytes=MOST_PICTURE_BYTES)
        return answer.body if isinstance(answer, client.Answer) and answer.status == 200 else None


def _is_public(host: str, port: int | None) -> bool:
    """Whether a name leads to addresses of the internet only: an upstream must not send this machine around its net."""
    try:
        found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return False
    return bool(found) and all(is_public(str(one[4][0])) for one in found)


def sentences(delivery: Delivery, complaint: Complaint) -> list[str]:
    """Say what a gateway's error was, whose words they are, what was tried, and what to quote."""
    code = f" ({complaint.code})" if complaint.code else ""
    otherwise = "the stream broke" if delivery.events else "the answer is of no use"
    what = f"the gateway answered {delivery.status}" if delivery.status >= 400 else otherwise
    lines = [f"waybill: {what}{code}: {complaint.message}"]
    lines += [f"  tried {one}" for one in complaint.tried]
    return [*lines, f"  request {delivery.request_id}"] if delivery.request_id else lines


def no_answer(lost: Unreached, base: str) -> str:
    """Say that nothing came, and whether anything may have been bought."""
    bought = ": the picture may be made all the same, see `waybill logs`" if lost.sent else ""
    return f"the gateway at {base} {'broke off' if lost.sent else 'cannot be reached'}: {lost.why}{bought}"
