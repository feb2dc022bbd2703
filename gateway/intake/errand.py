"""A request about a Response that is kept: no body, only an id, a query and the directives of its headers.

Rules: a query that would have to be answered with a stream is refused; the rest of it is the upstream's matter.
"""

from urllib.parse import parse_qsl

from gateway.bodies.spool import Spool, SpooledBody
from gateway.core.fields import unsupported
from gateway.core.types import BodyMap, Facts, Refusal
from gateway.intake.directives import read_directives, read_forwarded, refuse_replay
from gateway.intake.incoming import Incoming
from gateway.ports import Job

_NO_STREAM = "This version of the gateway does not support streams of kept Responses."


def read_errand(incoming: Incoming, spool: Spool) -> Job | Refusal:
    """Make a job of a request that has a subject."""
    directives = read_directives(incoming.headers)
    if isinstance(directives, Refusal):
        return directives
    misplaced = refuse_replay(directives)
    if misplaced is not None:
        return misplaced
    forwarded = read_forwarded(incoming.headers)
    if isinstance(forwarded, Refusal):
        return forwarded
    if any(name == "stream" and value.lower() not in ("", "false") for name, value in parse_qsl(incoming.query)):
        return unsupported("stream", _NO_STREAM)
    body = SpooledBody(spool)
    body.seal()
    return Job(
        request_id=incoming.request_id,
        time=incoming.time,
        started=incoming.started,
        facts=Facts(surface=incoming.surface, asked_model=None, errand=incoming.errand),
        directives=directives,
        body=body,
        body_map=BodyMap(content_type="application/json", length=0, model=None, insert_at=0),
        prompt="",
        query=incoming.query,
        forwarded=forwarded,
        subject=incoming.subject,
    )
