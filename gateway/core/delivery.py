"""In which form a client is given its pictures: inside the answer as base64, as an address of ours, or both.

What the route says goes first, then what the request says, then what is known of the model that was asked for: one that
always gives base64 is expected to, and the clients of one that is gone get what they got from it. When nobody says
anything the answer goes out as it came. Streams carry base64 and nothing else. It must never look at an answer.
"""

from enum import StrEnum
from typing import Final

from msgspec import Struct

from gateway.core.legacy import Legacy
from gateway.core.terms import Contract
from gateway.core.types import Facts

RESPONSE_FORMAT: Final = "response_format"
FORMS: Final = ("url", "b64_json")  # its values
TRANSLATED: Final = f"translated:{RESPONSE_FORMAT}"
DROPPED: Final = f"dropped:{RESPONSE_FORMAT}"


class Deliver(StrEnum):
    """What a route says of the form of its pictures."""

    AS_ASKED = "as_asked"
    URL = "url"
    B64_JSON = "b64_json"
    BOTH = "both"


class Form(StrEnum):
    """A form; the words of the record's ``result.delivery``."""

    URL = "url"
    B64_JSON = "b64_json"
    BOTH = "both"

    @property
    def has_url(self) -> bool:
        """Whether an address is part of it."""
        return self is not Form.B64_JSON

    @property
    def has_base64(self) -> bool:
        """Whether the bytes are part of it."""
        return self is not Form.URL


class Shape(Struct, frozen=True, kw_only=True):
    """The form in which an answer's pictures went out; ``None``: it has none.

    ``translated``: one was given in another form than it came in. ``missed``: one was not, though it should.
    """

    form: Form | None
    translated: bool = False
    missed: bool = False

    def stamped(self, stamps: tuple[str, ...]) -> tuple[str, ...]:
        """Give the warnings of the answer.

        A parameter that was left out of what was sent is not called dropped when its wish came true all the same.
        """
        told = tuple(word for word in stamps if word != DROPPED) if self.translated else stamps
        added = ((TRANSLATED, self.translated), (DROPPED, self.missed))
        return (*told, *(word for word, holds in added if holds and word not in told))


def wanted_form(facts: Facts, contract: Contract, deliver: Deliver, legacy: Legacy) -> Form | None:
    """Give the form that a whole answer should have; ``None``: the one it has.

    ``facts`` are the caller's own words, before any of them was translated; ``contract`` is that of who answered.
    """
    if facts.stream or not facts.surface.is_images:
        return None
    if deliver is not Deliver.AS_ASKED:
        return Form(deliver.value)
    asked = facts.response_format
    if asked is not None:
        return Form(asked) if asked in FORMS else None
    if contract.is_open:
        return None
    usual = legacy.results.get(facts.asked_model or "")
    if usual is not None:
        return Form(usual)
    return Form.B64_JSON if RESPONSE_FORMAT in contract.drops else None
