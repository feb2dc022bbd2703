"""What the edge refuses, as one exception tree, and the one envelope every error of this gateway leaves in.

    WebError
    |- BadHead            400 invalid_value       headers that are ambiguous or too large
    |- InvalidKey         401 invalid_api_key     no good key
    |- NoUse              403 model_not_allowed   a key for the operator's calls only
    |- KeysUnavailable    503 ledger_unavailable  keys cannot be looked up
    |- UnknownUrl         404 unknown_url         no such path
    |  `- NotOffered      404 unknown_url         a path of the API that this version does not have
    |- ModelNotFound      404 model_not_found     no route of that name can be used
    |- FlightNotFound     404 flight_not_found    no flight of that id that this caller may see
    |- AssetNotFound      404 asset_not_found     no kept picture at this address
    |- StoreDown          503 store_unavailable   kept pictures cannot be read now
    |- MethodNotAllowed   405 method_not_allowed  a known path, another method
    |- InternalError      500 internal_error      a bug; what it was stands in the log, not in the answer
    |- Stopped            502 upstream_unknown_outcome  the process was told twice to end, and did
    |- Overloaded         503 gateway_overloaded  more requests at once than this process takes
    `- OperatorError      any                     what an operator asked for cannot be done; ``/api/*`` only

Expected failures behind the edge are values (``Refusal``, ``PublicError``) and share the envelope: an ``error`` object
whose four keys are always there. ``/api/*`` speaks RFC 9457 (``problem``). Nothing the caller sent is repeated in a
message made here.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus

import orjson

from gateway.core.record import AttemptRecord
from gateway.core.redact import is_plain
from gateway.core.types import JsonObject, JsonValue, Refusal
from gateway.core.verdict import PublicError, type_of

_PARAM_CHARS = 200


class WebError(Exception):
    """A request that ends at the edge. ``retry_after_s`` is given when trying again can help."""

    def __init__(
        self,
        error: PublicError,
        *,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(error.message)
        self.error = error
        self.headers = headers
        self.retry_after_s = retry_after_s


class BadHead(WebError):
    """Headers that two readers could understand differently, or that are too many."""

    def __init__(self, message: str) -> None:
        super().__init__(ours(400, "invalid_value", message, "headers"))


class InvalidKey(WebError):
    """No key, or none that opens anything; never says which."""

    def __init__(self) -> None:
        message = "The API key is missing or not valid. Send a key of this gateway as Authorization: Bearer."
        super().__init__(ours(401, "invalid_api_key", message), headers=((b"www-authenticate", b"Bearer"),))


class NoUse(WebError):
    """A good key that opens the operator's calls only."""

    def __init__(self) -> None:
        super().__init__(ours(403, "model_not_allowed", "This key may not use models: it lacks the scope use."))


class KeysUnavailable(WebError):
    """The keys cannot be looked up now, so nobody is let in."""

    def __init__(self) -> None:
        message = "The gateway cannot look up keys right now. Try again shortly."
        super().__init__(ours(503, "ledger_unavailable", message), retry_after_s=1.0)


class UnknownUrl(WebError):
    """No such path."""

    def __init__(self, message: str = "There is nothing at this address.") -> None:
        super().__init__(ours(404, "unknown_url", message))


class NotOffered(UnknownUrl):
    """A path that the API has and this version of the gateway has not; the message says what to use instead."""


class ModelNotFound(WebError):
    """No usable route of that name."""

    def __init__(self) -> None:
        super().__init__(ours(404, "model_not_found", "This model is not served here.", "model"))


class FlightNotFound(WebError):
    """No flight of that id that this caller may see."""

    def __init__(self) -> None:
        super().__init__(ours(404, "flight_not_found", "There is no such flight."))


class AssetNotFound(WebError):
    """No kept picture at this address, for whatever reason."""

    def __init__(self) -> None:
        super().__init__(ours(404, "asset_not_found", "There is no picture at this address."))


class StoreDown(WebError):
    """Kept pictures cannot be read now."""

    def __init__(self) -> None:
        super().__init__(
            ours(503, "store_unavailable", "The store of pictures cannot be read now. Try again shortly."),
            retry_after_s=1.0,
        )


class MethodNotAllowed(WebError):
    """A known path asked with a method it has not. ``allowed`` becomes the Allow header."""

    def __init__(self, allowed: Sequence[str]) -> None:
        names = ", ".join(allowed)
        super().__init__(
            ours(405, "method_not_allowed", f"This address takes {names}."), headers=((b"allow", names.encode()),)
        )


class InternalError(WebError):
    """A bug of ours; the answer says nothing about it."""

    def __init__(self) -> None:
        super().__init__(ours(500, "internal_error", "The gateway failed to handle this request."))


class Stopped(WebError):
    """The process ends now; what this request had bought by then is in its record."""

    def __init__(self) -> None:
        super().__init__(
            ours(
                502,
                "upstream_unknown_outcome",
                "The gateway was stopped before this request was finished. The request may have been charged for.",
            )
        )


class OperatorError(WebError):
    """A call of the operator's that cannot be done. ``extra``: members of the problem besides its own."""

    def __init__(
        self,
        status: int,
        message: str,
        *,
        headers: tuple[tuple[bytes, bytes], ...] = (),
        extra: Mapping[str, JsonValue] | None = None,
    ) -> None:
        super().__init__(ours(status, None, message), headers=headers)
        self.extra = extra or {}


class Overloaded(WebError):
    """More requests at once than this process takes; nothing was read and nothing was started."""

    def __init__(self) -> None:
        super().__init__(
            ours(503, "gateway_overloaded", "The gateway is handling as many requests as it can. Try again shortly."),
            retry_after_s=1.0,
        )


def ours(status: int, code: str | None, message: str, param: str | None = None) -> PublicError:
    """Make an error of our own; its type follows from the status."""
    return PublicError(status=status, type=type_of(status), code=code, param=param, message=message)


def refused(refusal: Refusal) -> PublicError:
    """Give a refusal as the client sees it."""
    return ours(refusal.status, refusal.code, refusal.message, refusal.param)


def envelope(error: PublicError, attempts: Sequence[AttemptRecord] = ()) -> bytes:
    """Write the error as the API's JSON; ``attempts`` adds what was tried, when anything was."""
    return orjson.dumps({"error": error_fields(error, attempts)})


def error_fields(error: PublicError, attempts: Sequence[AttemptRecord] = ()) -> JsonObject:
    """Give what stands in the envelope."""
    fields: dict[str, JsonValue] = {
        "message": _sayable(error.message),
        "type": _sayable(error.type),
        "param": None if error.param is None else _sayable(error.param[:_PARAM_CHARS]),
        "code": None if error.code is None else _sayable(error.code),
    }
    if error.moderation is not None:
        details = error.moderation
        fields["moderation_details"] = {"moderation_stage": details.stage, "categories": [*details.categories]}
    if attempts:
        fields["attempts"] = [_attempt_json(attempt) for attempt in attempts]
    return fields


def problem(refusal: WebError) -> bytes:
    """Write the error as a problem of RFC 9457, without a type of its own: the status says what kind it is."""
    error = refusal.error
    fields: dict[str, JsonValue] = {
        "type": "about:blank",
        "title": HTTPStatus(error.status).phrase,
        "status": error.status,
        "detail": error.message,
    }
    if error.code is not None:
        fields["code"] = error.code
    if isinstance(refusal, OperatorError):
        fields.update(refusal.extra)
    return orjson.dumps(fields)


def _attempt_json(attempt: AttemptRecord) -> JsonObject:
    failure = attempt.failure
    code = failure.error.code if failure is not None and failure.error is not None else None
    return {
        "channel": _sayable(attempt.channel),
        "owner": _sayable(attempt.owner),
        "class": failure.kind if failure is not None else None,
        "status": attempt.status,
        "code": code if code is not None and is_plain(code) else None,
    }


def _sayable(text: str) -> str:
    """Replace what UTF-8 cannot carry (lone surrogates of a hostile body)."""
    return text.encode("utf-8", "replace").decode()
