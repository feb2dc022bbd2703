"""Looks at a large form as it comes: asks once whether it may be sent on, and says from then on how far.

Rules: it asks in the middle of the first picture that comes behind the model, when all that stands before it is known,
and only while enough is still to come to be worth it. A form whose length is not stated is not asked for: what goes out
says how long it is. What comes behind and is no picture waits for the end, since it may be changed.
"""

from collections.abc import Callable

from msgspec.structs import replace

from gateway.bodies.spool import SpooledBody
from gateway.intake.form import Form, FormReader
from gateway.ports import Ahead

_SOME_PROMPT = {"prompt": "?"}  # one that comes behind the pictures is there, for all that is known

Ask = Callable[[Form], Ahead | None]


class Scout:
    """Looks at one form of ``length`` bytes. ``least``: bytes that must be still to come."""

    __slots__ = ("_ask", "_body", "_least", "_length", "ahead")

    def __init__(self, body: SpooledBody, length: int, least: int, ask: Ask) -> None:
        self._body = body
        self._length = length
        self._least = least
        self._ask: Ask | None = ask
        self.ahead: Ahead | None = None

    def look(self, reader: FormReader) -> None:
        """See how far the form has come."""
        if self.ahead is not None:
            self.ahead.grow(reader.reach)
        elif self._ask is not None:
            if self._length - self._body.length < self._least:
                self._ask = None
                return
            draft = reader.draft()
            if draft is not None:
                ask, self._ask = self._ask, None
                self.ahead = ask(replace(draft, texts={**_SOME_PROMPT, **draft.texts}))
                self.look(reader)
