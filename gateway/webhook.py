"""Posts alerts to the operator's address: one thread, a bounded queue, few tries.

Rules. ``send`` only queues; a full queue drops and counts. A receiver has ``TIMEOUT_S`` for each step and ``POST_S``
for all of it: one that drips is cut off like one that says nothing. The address is the operator's own, so it may lie
anywhere; a redirect is not followed, and no proxy is taken from the environment. 408, 429, 5xx and broken connections
are tried again after a pause; every other answer but 2xx is final. Must never raise into its caller, and never say what
the address or the secret is.
"""

import hashlib
import hmac
import http.client
import queue
import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import urlsplit

from gateway import __version__

QUEUE_LIMIT: Final = 256
TIMEOUT_S: Final = 5.0
POST_S: Final = 10.0
PAUSES_S: Final = (1.0, 5.0, 25.0)
CLOSE_GRACE_S: Final = 2.0
_AGAIN: Final = frozenset({408, 429})


def signature(secret: str, moment: int, body: bytes) -> str:
    """Sign a body: ``t=SECONDS,v1=HEX``, where HEX is the HMAC-SHA256 over ``SECONDS.BODY``."""
    code = hmac.new(secret.encode(), f"{moment}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={moment},v1={code}"


class Webhook:
    """One address. ``start`` begins its thread; ``epoch`` gives seconds since 1970 for signatures."""

    def __init__(
        self,
        url: str,
        secret: str | None,
        *,
        epoch: Callable[[], float],
        pauses_s: Sequence[float] = PAUSES_S,
        post_s: float = POST_S,
    ) -> None:
        self._parts = urlsplit(url)
        self._secret = secret
        self._epoch = epoch
        self._pauses_s = pauses_s
        self._post_s = post_s
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._live, name="alert-webhook", daemon=True)
        self.sent = 0
        self.unsent = 0

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def send(self, body: bytes) -> None:
        """Queue one JSON body. Never blocks and never raises."""
        if self._ended.is_set() or self._queue.qsize() >= QUEUE_LIMIT:
            self.unsent += 1
        else:
            self._queue.put(body)

    def close(self) -> None:
        """Try what is queued once more, for a moment, and end."""
        self._ended.set()
        self._queue.put(None)
        if self._thread.is_alive():
            self._thread.join(CLOSE_GRACE_S)

    # --- everything below runs in the thread ---

    def _live(self) -> None:
        body = self._queue.get()
        while body is not None:
            if self._delivered(body):
                self.sent += 1
            else:
                self.unsent += 1
            body = self._queue.get()

    def _delivered(self, body: bytes) -> bool:
        for pause_s in (*self._pauses_s, None):
            status = self._post(body)
            if status is not None and status < 500 and status not in _AGAIN:
                return 200 <= status < 300
            if pause_s is None or self._ended.wait(pause_s):
                break
        return False

    def _post(self, body: bytes) -> int | None:
        """Give the answer's status; ``None``: there was none."""
        headers = {"content-type": "application/json", "user-agent": f"waybill/{__version__}"}
        if self._secret is not None:
            headers["x-waybill-signature"] = signature(self._secret, int(self._epoch()), body)
        target = (self._parts.path or "/") + (f"?{self._parts.query}" if self._parts.query else "")
        connection = self._connection()
        overdue = threading.Timer(self._post_s, _cut, [connection])
        overdue.daemon = True
        overdue.start()
        try:
            connection.request("POST", target, body=body, headers=headers)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException, ValueError):
            return None
        finally:
            overdue.cancel()
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        host, port = self._parts.hostname or "", self._parts.port
        if self._parts.scheme == "https":
            context = ssl.create_default_context()
            return http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
        return http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)


def _cut(connection: http.client.HTTPConnection) -> None:
    """Break a connection that takes too long: whoever reads from it reads its end."""
    line: socket.socket | None = connection.sock
    if line is not None:
        with suppress(OSError):
            line.shutdown(socket.SHUT_RDWR)
