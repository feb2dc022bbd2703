"""What is wanted of the Responses surface, and what a request there refers to, as frozen values.

Nothing here decides anything.
"""

from enum import StrEnum

from msgspec import Struct


class Errand(StrEnum):
    """What is wanted of the Responses surface: a new Response, or something about one; the record's ``endpoint``.

    Only ``CREATE``, ``INPUT_TOKENS`` and ``COMPACT`` come with a body that names a model, and so have a route. The
    others go to the channel that keeps the Response.
    """

    CREATE = "responses"
    INPUT_TOKENS = "responses/input_tokens"
    COMPACT = "responses/compact"
    RETRIEVE = "responses/retrieve"
    DELETE = "responses/delete"
    CANCEL = "responses/cancel"
    INPUT_ITEMS = "responses/input_items"


class Reference(Struct, frozen=True, kw_only=True):
    """Something an upstream keeps, named by its id. ``param`` says where it stands in the body, if it does.

    ``bare``: the id is all there is, so whoever lacks it cannot serve. Otherwise the item came with its content, of
    which a part can be read only by the account that wrote it (reasoning, a compaction).
    """

    id: str
    param: str | None = None
    bare: bool = True
