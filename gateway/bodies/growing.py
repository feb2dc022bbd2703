"""A form on its way out while it still arrives: its bytes, changed as an upstream is to read them, as far as is known.

Rules: the bytes are read from where the body is kept, so that a slow peer makes nobody hold them twice. Nothing goes
out beyond ``reach``, and no change is made by halves. Must never wait, and never seal the body.
"""

from collections.abc import Sequence

from gateway.bodies.spool import AT_ONCE, SpooledBody
from gateway.core.ahead import LEAST, Sent, Sketch


class Growing:
    """Implements ``ports.Growing``. ``reach``: up to where the caller's body may go out."""

    __slots__ = ("_at", "_body", "_from", "_made", "_sketch", "given", "reach")

    def __init__(self, body: SpooledBody, sketch: Sketch) -> None:
        self._body = body
        self._sketch = sketch
        self._at = 0  # in the caller's body
        self._made = 0  # changes that went out
        self._from = (0, 0)
        self.given = 0
        self.reach = 0

    @property
    def length(self) -> int:
        """Bytes that will have gone out in the end."""
        return self._sketch.length

    @property
    def is_worth_it(self) -> bool:
        """Whether there is enough to send."""
        return self.reach - self._at >= LEAST

    @property
    def sent(self) -> Sent:
        """How far it was sent."""
        return Sent(sketch=self._sketch, at=self._at, made=self._made)

    def take(self) -> Sequence[bytes]:
        """Give what may go out next, 128 KiB or a piece more; nothing: it is not worth it yet."""
        taken: list[bytes] = []
        left = AT_ONCE if self.is_worth_it else 0
        while left > 0:
            piece = self._next()
            if piece is None:
                break
            taken.append(piece)
            left -= len(piece)
        self.given += AT_ONCE - left if taken else 0
        return taken

    def _next(self) -> bytes | None:
        splices = self._sketch.splices
        change = splices[self._made] if self._made < len(splices) else None
        if change is not None and change.start == self._at:
            if change.end > self.reach:
                return None
            self._made += 1
            self._at = change.end
            return change.text
        stop = self.reach if change is None else min(self.reach, change.start)
        piece, self._from = self._body.behind(self._at, stop, self._from)
        self._at += len(piece)
        return piece or None
