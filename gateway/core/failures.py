"""What was seen of an attempt, named; and what each name costs. The table of consequences is here, once.

``classify`` asks the evidence in this order: how the exchange broke; then the upstream's error ``code``; then a
specific ``type``; then the status; then known phrases of the message. All words and statuses are data
(``catalog/failures.yaml``); generic types are not in it and so decide nothing.

Rules on top of the data:

* A status that says one thing decides (402, 408, 502, 504, 52x). One that says several (400, 403, 429, 500, 503) is
  read with the phrases. A phrase never changes a status whose outcome is unknown, and ``account_not_ready`` is believed
  of a 400 or a 403 only.
* ``server_error`` needs the channel's own error body: that is the channel saying no. A bare 5xx (HTML, nothing) was
  answered by something between or behind, so it is ``lost_behind``. 503 and 529 need no body.
* A gateway that answers any 5xx after 20 seconds may have bought behind our back: ``lost_behind``, unless its own words
  blame the request.
* A redirect is ``malformed``: it is never followed. So is an error envelope inside a 200, whatever its code, but for a
  verdict on content.
* A picture that came is a delivery, also when the same Response holds a failed image item.
* An error that comes as an event of a stream is the upstream saying no, whatever the status was, as long as no content
  came before it. After content the call is ``cut``, but for a verdict on content: money may be gone.

It must never raise, never act, and never call an unknown outcome refused because of a phrase.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from gateway.core.redact import is_plain
from gateway.core.retry_after import retry_after_s
from gateway.core.seen import Observation, Reading, StreamFacts
from gateway.core.table import ChannelKind, FailureCodes
from gateway.core.types import Action, Cause, ErrorBody, Failure, FailureClass, Fault, Outcome, Phase, Surface

GATEWAY_LOST_AFTER_S: Final = 20.0
_PHRASE_CHARS: Final = 1_000  # an upstream may quote the prompt further on


class Consequence(Struct, frozen=True, kw_only=True):
    """What a class means: whether money may be gone, what is done next, and whose failure it is."""

    outcome: Outcome
    action: Action
    fault: Fault


class ClassifyContext(Struct, frozen=True, kw_only=True):
    """What of the request and the channel changes the reading of an answer."""

    surface: Surface
    channel_kind: ChannelKind
    has_image_tool: bool = False
    tool_forced: bool = False
    must_stream: bool = False  # the client takes nothing but a stream of events
    flat_price: bool = False  # an answer without a picture costs what one with it does


def _row(outcome: Outcome, action: Action, fault: Fault) -> Consequence:
    return Consequence(outcome=outcome, action=action, fault=fault)


CONSEQUENCES: Final[Mapping[FailureClass, Consequence]] = MappingProxyType(
    {
        FailureClass.UNREACHABLE: _row(Outcome.NOT_SENT, Action.NEXT, Fault.UPSTREAM),
        FailureClass.RATE_LIMITED: _row(Outcome.REFUSED, Action.NEXT, Fault.ACCOUNT),
        FailureClass.QUOTA_EXHAUSTED: _row(Outcome.REFUSED, Action.NEXT, Fault.ACCOUNT),
        FailureClass.KEY_REJECTED: _row(Outcome.REFUSED, Action.NEXT, Fault.ACCOUNT),
        FailureClass.ACCOUNT_NOT_READY: _row(Outcome.REFUSED, Action.NEXT, Fault.ACCOUNT),
        FailureClass.MODEL_MISSING: _row(Outcome.REFUSED, Action.NEXT, Fault.ROUTING),
        # Goes on only to a target whose contract states the option; no contract is known here, so it stops.
        FailureClass.UNSUPPORTED_OPTION: _row(Outcome.REFUSED, Action.STOP, Fault.OPTION),
        FailureClass.BAD_REQUEST: _row(Outcome.REFUSED, Action.STOP, Fault.CALLER),
        FailureClass.CONTENT_POLICY: _row(Outcome.REFUSED, Action.STOP, Fault.CALLER),
        FailureClass.OVERLOADED: _row(Outcome.REFUSED, Action.NEXT, Fault.UPSTREAM),
        FailureClass.SERVER_ERROR: _row(Outcome.REFUSED, Action.NEXT, Fault.UPSTREAM),
        FailureClass.LOST_BEHIND: _row(Outcome.UNKNOWN, Action.STOP, Fault.UPSTREAM),
        FailureClass.TIMEOUT: _row(Outcome.UNKNOWN, Action.STOP, Fault.UPSTREAM),
        FailureClass.CONNECTION_LOST: _row(Outcome.UNKNOWN, Action.STOP, Fault.UPSTREAM),
        FailureClass.MALFORMED: _row(Outcome.UNKNOWN, Action.STOP, Fault.UPSTREAM),
        # Goes on when the upstream reports no output tokens: nothing was drawn, nothing is owed.
        FailureClass.EMPTY_RESULT: _row(Outcome.UNKNOWN, Action.STOP, Fault.UPSTREAM),
        FailureClass.CUT: _row(Outcome.UNKNOWN, Action.STOP, Fault.UPSTREAM),
        FailureClass.CLIENT_GONE: _row(Outcome.UNKNOWN, Action.STOP, Fault.CALLER),
    }
)

_BROKEN: Final[Mapping[Cause, FailureClass]] = MappingProxyType(
    {
        Cause.PATIENCE: FailureClass.TIMEOUT,
        Cause.IDLE: FailureClass.TIMEOUT,
        Cause.DEADLINE: FailureClass.TIMEOUT,
        Cause.UPLOAD_STALLED: FailureClass.TIMEOUT,
        Cause.BAD_FRAMING: FailureClass.MALFORMED,
        Cause.BAD_ENCODING: FailureClass.MALFORMED,
        Cause.TOO_LARGE: FailureClass.MALFORMED,
        Cause.BAD_EVENT: FailureClass.MALFORMED,
        Cause.CLIENT_GONE: FailureClass.CLIENT_GONE,
    }
)
_UNSAID: Final[Mapping[Phase, Cause]] = MappingProxyType(
    {Phase.UNSENT: Cause.CONNECT_FAILED, Phase.SENT: Cause.DROPPED, Phase.ANSWERED: Cause.TRUNCATED}
)
# Losing a text answer costs little, so it is asked again elsewhere; losing a picture is not.
_CHEAP_TO_LOSE: Final = frozenset(
    {FailureClass.TIMEOUT, FailureClass.CONNECTION_LOST, FailureClass.LOST_BEHIND, FailureClass.MALFORMED}
)
_BLAMES_THE_REQUEST: Final = frozenset({Fault.CALLER, Fault.OPTION})


class _Sighting(Struct, frozen=True, kw_only=True):
    kind: FailureClass
    detail: str
    error: ErrorBody | None = None
    passes_through: bool = False


def classify(
    seen: Observation, reading: Reading | None, context: ClassifyContext, codes: FailureCodes
) -> Failure | None:
    """Name what happened to one attempt; ``None`` means it delivered. Total: never raises.

    ``reading`` is the codec's, for a whole answer; without one the body is taken to have had no shape.
    ``Failure.action`` is the default for this request; a route may override it.
    """
    heard = reading if reading is not None else Reading()
    if seen.stream is not None:
        sighting = _streamed(seen, seen.stream, heard, context, codes)
    else:
        sighting = _sight(seen, heard, context, codes)
    if sighting is None:
        return None
    kind, consequence = sighting.kind, CONSEQUENCES[sighting.kind]
    return Failure(
        kind=kind,
        detail=sighting.detail,
        outcome=Outcome.NOT_SENT if seen.phase is Phase.UNSENT else consequence.outcome,
        fault=Fault.STORAGE if seen.cause is Cause.SPOOL_FULL else consequence.fault,
        action=_action(kind, heard, context),
        status=seen.status,
        retry_after_s=retry_after_s(seen.headers, sighting.error.message if sighting.error else ""),
        error=sighting.error,
        passes_through=sighting.passes_through,
    )


def _action(kind: FailureClass, heard: Reading, context: ClassifyContext) -> Action:
    if kind is FailureClass.EMPTY_RESULT:
        return Action.STOP if (heard.output_tokens or 0) > 0 or context.flat_price else Action.NEXT
    if kind in _CHEAP_TO_LOSE and context.surface is Surface.RESPONSES and not context.has_image_tool:
        return Action.NEXT
    return CONSEQUENCES[kind].action


def _sight(seen: Observation, heard: Reading, context: ClassifyContext, codes: FailureCodes) -> _Sighting | None:
    if seen.cause is not None or seen.phase is not Phase.DONE:
        return _broken(seen)
    status = seen.status or 0
    if status >= 400:
        return _refused(status, seen.elapsed_s, heard, context, codes)
    if not 200 <= status < 300:
        return _Sighting(kind=FailureClass.MALFORMED, detail=str(status))
    if context.surface is Surface.RESPONSES and heard.shaped and heard.response_status == "failed":
        return _failed_response(heard.error, codes)
    if heard.error is not None and not heard.pictures and not heard.url_count and not _is_response(heard, context):
        kind = _by_words(heard.error, status, codes)
        kept = kind if kind is FailureClass.CONTENT_POLICY else FailureClass.MALFORMED
        return _Sighting(kind=kept, detail=_word(heard.error, "error"), error=heard.error)
    fault = _misshapen(seen, heard) or ("content_type" if context.must_stream else None)
    if fault is not None:
        return _Sighting(kind=FailureClass.MALFORMED, detail=fault)
    if heard.pictures or heard.url_count:
        return None
    if context.surface is Surface.RESPONSES:
        return _pictureless_response(heard, context, codes)
    return _Sighting(kind=FailureClass.EMPTY_RESULT, detail="no_picture")


def _streamed(
    seen: Observation, stream: StreamFacts, heard: Reading, context: ClassifyContext, codes: FailureCodes
) -> _Sighting | None:
    """Judge an answer that came as events."""
    if seen.cause is not None:
        is_cut = stream.has_content and seen.cause is not Cause.CLIENT_GONE
        return _Sighting(kind=FailureClass.CUT, detail=seen.cause.value) if is_cut else _broken(seen)
    if heard.response_status == "failed":
        return _failed_response(heard.error, codes)
    if heard.error is not None:
        return _error_event(heard.error, codes, has_content=stream.has_content)
    if heard.pictures or heard.url_count:
        return None
    if context.surface is Surface.RESPONSES:
        return _pictureless_response(heard, context, codes)
    return _Sighting(kind=FailureClass.EMPTY_RESULT, detail="no_picture")


def _error_event(error: ErrorBody, codes: FailureCodes, *, has_content: bool) -> _Sighting:
    kind = _by_words(error, 200, codes) or _by_phrase(error, 400, codes) or FailureClass.SERVER_ERROR
    if not has_content or kind is FailureClass.CONTENT_POLICY:
        return _Sighting(kind=kind, detail=_word(error, "error"), error=error)
    speaks_of_us = CONSEQUENCES[kind].fault is Fault.ACCOUNT  # then its words are not for the client
    return _Sighting(kind=FailureClass.CUT, detail=_word(error, "error"), error=None if speaks_of_us else error)


def _broken(seen: Observation) -> _Sighting:
    cause = seen.cause or _UNSAID[seen.phase]
    if cause is Cause.CLIENT_GONE:
        kind = FailureClass.CLIENT_GONE
    elif seen.phase is Phase.UNSENT:
        kind = FailureClass.UNREACHABLE
    else:
        kind = _BROKEN.get(cause, FailureClass.CONNECTION_LOST)
    return _Sighting(kind=kind, detail=cause.value)


def _refused(status: int, elapsed_s: float, heard: Reading, context: ClassifyContext, codes: FailureCodes) -> _Sighting:
    error = heard.error
    kind = (_by_words(error, status, codes) if error else None) or _by_status(status, error, codes)
    is_late = context.channel_kind is ChannelKind.GATEWAY and status >= 500 and elapsed_s >= GATEWAY_LOST_AFTER_S
    if is_late and kind is not FailureClass.TIMEOUT and CONSEQUENCES[kind].fault not in _BLAMES_THE_REQUEST:
        kind = FailureClass.LOST_BEHIND
    return _Sighting(kind=kind, detail=str(status), error=error)


def _by_words(error: ErrorBody, status: int, codes: FailureCodes) -> FailureClass | None:
    """Read ``code``, then ``type``; an entry qualified by parameter or status goes before a plain one."""
    qualifiers = ((error.param or "").rsplit(".", 1)[-1], str(status))
    code = error.code or ""
    by_prefix = next((kind for prefix, kind in codes.code_prefixes if code.startswith(prefix)), None)
    return _entry(codes.codes, code, qualifiers) or by_prefix or _entry(codes.types, error.type or "", qualifiers)


def _entry(known: Mapping[str, FailureClass], word: str, qualifiers: tuple[str, str]) -> FailureClass | None:
    keys = (*(f"{word}@{qualifier}" for qualifier in qualifiers), word)
    return next((known[key] for key in keys if key in known), None)


def _by_status(status: int, error: ErrorBody | None, codes: FailureCodes) -> FailureClass:
    kind = codes.statuses.get(status, FailureClass.BAD_REQUEST if status < 500 else FailureClass.SERVER_ERROR)
    if error is None:
        return FailureClass.LOST_BEHIND if kind is FailureClass.SERVER_ERROR else kind
    if CONSEQUENCES[kind].outcome is not Outcome.REFUSED:
        return kind
    return _by_phrase(error, status, codes) or kind


def _by_phrase(error: ErrorBody, status: int, codes: FailureCodes) -> FailureClass | None:
    text = error.message[:_PHRASE_CHARS].lower()
    kind = next((phrase.kind for phrase in codes.phrases if phrase.text in text), None)
    return None if kind is FailureClass.ACCOUNT_NOT_READY and status not in (400, 403) else kind


def _is_response(heard: Reading, context: ClassifyContext) -> bool:
    return context.surface is Surface.RESPONSES and heard.shaped


def _misshapen(seen: Observation, heard: Reading) -> str | None:
    """Say what is wrong with a 2xx answer: html, json (not parseable), content_type or shape."""
    content_type = seen.headers.get("content-type", "").split(";", 1)[0].strip().lower()
    if "html" in content_type:
        return "html"
    if content_type and content_type != "application/json" and not content_type.endswith("+json"):
        return "content_type"
    if seen.answer is None or seen.answer.document is None:
        return "json"
    return None if heard.shaped else "shape"


def _failed_response(error: ErrorBody | None, codes: FailureCodes) -> _Sighting:
    kind = (_by_words(error, 200, codes) or _by_phrase(error, 400, codes)) if error else None
    return _Sighting(
        kind=kind or FailureClass.SERVER_ERROR, detail=_word(error, "failed"), error=error, passes_through=True
    )


def _pictureless_response(heard: Reading, context: ClassifyContext, codes: FailureCodes) -> _Sighting | None:
    """Judge a good Response without a picture: fine, unless policy forbade it or the image tool was forced."""
    item = heard.item_error
    kind = _by_words(item, 200, codes) if item else None
    is_owed = context.tool_forced and heard.response_status in ("completed", None)
    if kind is not FailureClass.CONTENT_POLICY and not is_owed:
        return None
    return _Sighting(
        kind=kind or FailureClass.EMPTY_RESULT,
        detail=_word(item, "no_picture"),
        error=item,
        passes_through=item is not None,
    )


def _word(error: ErrorBody | None, otherwise: str) -> str:
    """Give the upstream's code when it is fit for a header."""
    code = error.code if error else None
    return code if code and is_plain(code) else otherwise
