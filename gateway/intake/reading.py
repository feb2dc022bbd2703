"""One request, read: headers into directives, the body into the spool and into facts, both into a ``Job``.

Rules: headers are judged before a byte of the body is taken; the body is kept exactly as it came; what was kept is
given back unless a job carries it on. Must never send anything by itself and never choose a target.
"""

import asyncio
from functools import partial

from msgspec import Struct

from gateway.bodies.spool import MEMORY_ITEM, Spool, SpooledBody, SpoolFull
from gateway.core.errand import Errand
from gateway.core.keyed import Keyed
from gateway.core.table import BodyLimits, PromptPrivacy, Settings
from gateway.core.types import BodyMap, Directives, Fault, Refusal, Surface
from gateway.intake.content_type import BodyKind, read_content_type
from gateway.intake.directives import read_directives, read_forwarded, refuse_replay
from gateway.intake.errand import read_errand
from gateway.intake.facts import Asked, Privacy
from gateway.intake.form import Form
from gateway.intake.form_request import FormSink, understood
from gateway.intake.incoming import Incoming, declared_length, pump
from gateway.intake.json_request import JsonSink
from gateway.intake.scout import Scout
from gateway.ports import Ahead, Job

MEMORY_KNOWN = 24 * 1024 * 1024  # of one body, when its length is stated
MEMORY_LEFT = 16 * 1024 * 1024  # of the spool's, for answers: requests leave so much

_FULL = Refusal(
    status=503,
    code="gateway_overloaded",
    message="The gateway has no room for this body now.",
    fault=Fault.STORAGE,
    retry_after_s=1.0,
)


class _Head(Struct, frozen=True, kw_only=True):
    directives: Directives
    forwarded: tuple[tuple[str, str], ...]
    kind: BodyKind


class Intake:
    """Makes jobs of requests. ``prompt_key`` keys the hashes of prompts and end users."""

    def __init__(self, spool: Spool, settings: Settings, prompt_key: bytes) -> None:
        self._spool = spool
        self._limits = settings.server.body
        self._send_ahead = settings.server.send_ahead
        self._privacy = Privacy(key=Keyed(prompt_key), keep_text=settings.prompts is PromptPrivacy.TEXT)

    async def read(self, incoming: Incoming) -> Job | Refusal:
        """Read one request whole. Raises ``ClientGone`` when the client leaves before its body is whole."""
        if incoming.subject is not None:
            return read_errand(incoming, self._spool)
        head = _read_head(incoming)
        if isinstance(head, Refusal):
            return head
        body = SpooledBody(self._spool, leaves=MEMORY_LEFT)
        scout = self._scout(incoming, head, body) if incoming.send_ahead is not None else None
        job: Job | None = None
        try:
            taken = await self._take(incoming, head.kind, body, scout)
            if isinstance(taken, Refusal):
                return taken
            job = _job(incoming, head, body, taken, None if scout is None else scout.ahead)
        except SpoolFull:
            return _FULL
        finally:
            if job is None:
                if scout is not None and scout.ahead is not None:
                    scout.ahead.cut()
                body.close()
        return job

    async def _take(
        self, incoming: Incoming, kind: BodyKind, body: SpooledBody, scout: Scout | None
    ) -> tuple[Asked, BodyMap] | Refusal:
        cap = _cap(self._limits, kind, incoming.surface)
        length = declared_length(incoming, cap)
        if isinstance(length, Refusal):
            return length
        if length > MEMORY_ITEM:
            body.expect(length, MEMORY_KNOWN)
        sink = (
            JsonSink(kind, body, incoming.errand, is_check=incoming.is_check)
            if kind.boundary is None
            else FormSink(kind, body, None if scout is None else scout.look)
        )
        refusal = await pump(incoming, cap, sink)
        if refusal is not None:
            return refusal
        body.seal()
        if sink.is_slow:
            return await asyncio.to_thread(sink.understand, incoming.surface, self._privacy)
        return sink.understand(incoming.surface, self._privacy)

    def _scout(self, incoming: Incoming, head: _Head, body: SpooledBody) -> Scout | None:
        """Give who looks whether a form can be sent on while it comes; ``None``: it is not large, or none."""
        length = declared_length(incoming, self._limits.multipart)
        if head.kind.boundary is None or isinstance(length, Refusal) or not 0 < self._send_ahead <= length:
            return None
        return Scout(body, length, self._send_ahead, partial(self._ask, incoming, head, body, length))

    def _ask(self, incoming: Incoming, head: _Head, body: SpooledBody, length: int, form: Form) -> Ahead | None:
        """Ask whether a form of which so much has come can be sent on."""
        taken = understood(form, head.kind, length, incoming.surface, self._privacy)
        if isinstance(taken, Refusal) or incoming.send_ahead is None:
            return None
        return incoming.send_ahead(_job(incoming, head, body, taken), body)


def _read_head(incoming: Incoming) -> _Head | Refusal:
    directives = read_directives(incoming.headers)
    if isinstance(directives, Refusal):
        return directives
    misplaced = None if incoming.errand is Errand.CREATE else refuse_replay(directives)
    if misplaced is not None:
        return misplaced
    forwarded = read_forwarded(incoming.headers)
    if isinstance(forwarded, Refusal):
        return forwarded
    kind = read_content_type(incoming.headers.get("content-type"), incoming.surface)
    if isinstance(kind, Refusal):
        return kind
    return _Head(directives=directives, forwarded=forwarded, kind=kind)


def _cap(limits: BodyLimits, kind: BodyKind, surface: Surface) -> int:
    if kind.boundary is not None:
        return limits.multipart
    return limits.edits_json if surface is Surface.EDITS else limits.json


def _job(
    incoming: Incoming, head: _Head, body: SpooledBody, taken: tuple[Asked, BodyMap], ahead: Ahead | None = None
) -> Job:
    asked, body_map = taken
    return Job(
        request_id=incoming.request_id,
        time=incoming.time,
        started=incoming.started,
        facts=asked.facts,
        directives=head.directives,
        body=body,
        body_map=body_map,
        prompt=asked.prompt,
        query="" if incoming.surface.is_images else incoming.query,
        forwarded=head.forwarded,
        origin=incoming.origin,
        ahead=ahead,
    )
