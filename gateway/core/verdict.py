"""What the client is told when no target delivered: the first failure, in the four words of the API.

Rules: an upstream that answered keeps its status and its words, redacted; one that spoke of *our* account becomes a
502, so that no client thinks its own key is bad. Everything else gets a sentence of ours, which names no input, no key
and no URL, and says so when money may be gone. A Response that reports its own failure is passed on whole by whoever
holds its body; the error made here is for when nobody does.
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from gateway.core.plan import Plan
from gateway.core.redact import is_plain, redact
from gateway.core.table import Channel
from gateway.core.types import ErrorBody, Failure, FailureClass, Fault, Moderation, Outcome
from gateway.core.walk import Tried


class PublicError(Struct, frozen=True, kw_only=True):
    """An error as the client sees it: HTTP status, the envelope's four words, and what a verdict on content found."""

    status: int
    type: str
    code: str | None
    param: str | None
    message: str
    moderation: Moderation | None = None


def type_of(status: int) -> str:
    """Give the ``type`` of an error of ours, in the API's words; a limit on requests has a word of its own."""
    if status >= 500:
        return _OUR_TYPE
    return "requests" if status == HTTPStatus.TOO_MANY_REQUESTS else "invalid_request_error"


_UPSTREAM_ERROR: Final = "upstream_error"
_UNKNOWN_OUTCOME: Final = "upstream_unknown_outcome"
_OUR_TYPE: Final = "server_error"
_NOT_ASKED: Final = "The upstream delivered something else than was asked for ({}). It may have been charged for."
_PERHAPS: Final = "The request may have been charged for."
_UNSAID: Final = "The upstream answered with an error."
_UNSAID_AND_LOST: Final = (
    f"The upstream answered with an error that does not say what became of the request. {_PERHAPS}"
)
_LATE: Final = (504, "upstream_timeout", f"The upstream did not answer in time. {_PERHAPS}")
_LOST: Final = (
    502,
    _UNKNOWN_OUTCOME,
    f"The connection to the upstream was lost after the request was sent. {_PERHAPS}",
)
_OURS: Final[Mapping[FailureClass, tuple[int, str, str]]] = MappingProxyType(
    {
        FailureClass.UNREACHABLE: (502, "upstream_unreachable", "The upstream could not be reached. Nothing was sent."),
        FailureClass.CONNECTION_LOST: _LOST,
        FailureClass.CUT: _LOST,
        FailureClass.CLIENT_GONE: _LOST,
        FailureClass.TIMEOUT: _LATE,
        FailureClass.MALFORMED: (
            502,
            "upstream_malformed",
            f"The upstream's answer was not what this API returns. {_PERHAPS}",
        ),
        FailureClass.EMPTY_RESULT: (502, "upstream_empty", f"The upstream answered without a picture. {_PERHAPS}"),
    }
)
_ACCOUNT_STATUSES: Final = frozenset({401, 402, 403})
_THE_REQUESTS_OWN: Final = frozenset({Fault.CALLER, Fault.OPTION})


def public_error(plan: Plan, history: Sequence[Tried]) -> PublicError:
    """Give the error of a request that ended without a delivery; ``history`` empty means its time was up before any."""
    if not history:
        return _ours(504, "upstream_timeout", "The request's deadline passed before an upstream could be asked.")
    return error_of(plan, history[0].failure)


def error_of(plan: Plan, failure: Failure) -> PublicError:
    """Give the error for one failure, as when its target is the only one the client will hear of."""
    return error_from(failure, [target.channel for target in plan.targets])


def error_from(failure: Failure, channels: Sequence[Channel]) -> PublicError:
    """Give the error for one failure; the keys of ``channels`` are taken out of an upstream's words."""
    keys = [channel.api_key.reveal() for channel in channels if channel.api_key is not None]
    status = failure.status or 502
    has_words = failure.error is not None and (status >= 400 or failure.kind is FailureClass.CUT)
    if failure.outcome is Outcome.DELIVERED:
        return _ours(502, "upstream_malformed", _NOT_ASKED.format(failure.detail.replace("_", " ")))
    if failure.kind in _OURS and not has_words:
        return _ours(*_OURS[failure.kind])
    if _speaks_of_our_account(failure, status):
        return _ours(502, _UPSTREAM_ERROR, "The upstream refused this gateway's own account.")
    if status < 400:
        status = 400 if failure.fault in _THE_REQUESTS_OWN else 502
    if failure.error is None and failure.outcome is Outcome.UNKNOWN:
        return _ours(status, _UNKNOWN_OUTCOME, _UNSAID_AND_LOST)
    if failure.error is None:
        return _ours(status, _UPSTREAM_ERROR, _UNSAID)
    return _theirs(status, failure.error, keys)


def _speaks_of_our_account(failure: Failure, status: int) -> bool:
    if failure.kind is FailureClass.KEY_REJECTED:
        return True
    return status in _ACCOUNT_STATUSES and failure.fault not in _THE_REQUESTS_OWN


def _ours(status: int, code: str, message: str) -> PublicError:
    return PublicError(
        status=status,
        type=type_of(status),
        code=code,
        param=None,
        message=message,
    )


def _theirs(status: int, error: ErrorBody, keys: Sequence[str]) -> PublicError:
    def clean(text: str | None) -> str | None:
        return None if text is None else redact(text, keys)

    return PublicError(
        status=status,
        type=clean(error.type) or type_of(status),
        code=clean(error.code),
        param=clean(error.param),
        message=clean(error.message) or _UNSAID,
        moderation=None if error.moderation is None else _plainly(error.moderation),
    )


def _plainly(moderation: Moderation) -> Moderation:
    stage = moderation.stage
    return Moderation(
        stage=stage if stage is not None and is_plain(stage) else None,
        categories=tuple(word for word in moderation.categories if is_plain(word)),
    )
