"""Forms that are sent on while they still arrive: to whom, on whose place, and until when.

Rules: what is sent ahead is a call that nobody has made yet. The end of the form stays here until the attempt loop
makes it, after the whole form was read, planned, held for and committed; a call that is not made is cut, and then an
upstream has half a form, which it cannot carry out. So it is no attempt, costs nothing and says nothing of a channel's
health. It has a place at its channel only while no attempt wants it. Must never send what ``core.ahead`` forbids.
"""

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from enum import StrEnum
from typing import Final

from msgspec.structs import replace

from gateway.bodies.growing import Growing
from gateway.bodies.spool import SpooledBody
from gateway.core.agreement import Agreement, agree, forbidden
from gateway.core.ahead import Sketch, asks_anew, begins, lone_target, sketch
from gateway.core.plan import Plan, Target
from gateway.core.policy import plan
from gateway.core.record import timestamp
from gateway.core.types import Cause
from gateway.exchange import translations
from gateway.gates import Gates
from gateway.ports import Call, Events, Job, Lead, Leader, Leaders
from gateway.relay import Means

SILENT_S: Final = 10.0  # of a client, until its form holds no connection any longer
LONGEST_S: Final = 120.0  # that a form may take to arrive for that
HELD_BACK: Final = 4 * 1024  # bytes of a picture that wait for what follows it


class End(StrEnum):
    """Why a form that was sent ahead came to nothing."""

    NOT_WANTED = "not_wanted"  # no attempt was made, or it was another call
    PLACE_NEEDED = "place_needed"  # an attempt needed its place at the channel
    GAVE_UP = "gave_up"  # its client was too slow, its upstream failed, or the process ends


Tell = Callable[[Call, int, End], None]
"""Is told of each that was cut, with the bytes that had gone out."""


class Forerunner:
    """One form on its way; implements ``ports.Ahead`` and ``gates.Guest``."""

    __slots__ = ("_call", "_channel", "_gates", "_growing", "_is_over", "_lead", "_tell", "since")

    def __init__(self, call: Call, growing: Growing, gates: Gates, tell: Tell, since: float) -> None:
        self._call = call
        self._channel = call.channel.name
        self._growing = growing
        self._gates = gates
        self._tell = tell
        self._lead: Lead | None = None
        self._is_over = False
        self.since = since

    def go(self, leader: Leader) -> None:
        """Begin; it has a place."""
        self._lead = leader.lead(self._call, self._growing, self._ended)

    def grow(self, reach: int) -> None:
        """Say that the caller's body may go out up to ``reach``; the last of it waits for what follows."""
        self._growing.reach = max(0, reach - HELD_BACK)
        if self._lead is not None and not self._is_over and self._growing.is_worth_it:
            self._lead.more()

    def stay(self, channel: str) -> bool:
        """Give its place to the attempt that follows at ``channel``."""
        if not self._is_over and channel == self._channel and self._gates.stay(channel, self):
            return True
        self.cut()
        return False

    def claim(self, whole: Sketch) -> Lead | None:
        """Give the call that was begun, if ``whole`` begins with what was sent of it."""
        if self._is_over or not begins(self._growing.sent, whole):
            self.cut()
            return None
        self._is_over = True
        return self._lead

    def evict(self) -> None:
        """Take note that an attempt needs the place."""
        self._end(End.PLACE_NEEDED)

    def cut(self) -> None:
        """End it, unless an attempt goes on with it."""
        self._end(End.NOT_WANTED)

    def _ended(self) -> None:
        """Take note that it ended by itself."""
        self._end(End.GAVE_UP)

    def _end(self, why: End) -> None:
        if self._is_over:
            return
        self._is_over = True
        self._gates.go(self._channel, self)
        if self._lead is not None:
            self._lead.cut()
        if self._growing.given:
            self._tell(self._call, self._growing.given, why)


class Forerunners:
    """Sends forms ahead. One instance serves all requests of the process."""

    def __init__(self, means: Means, gates: Gates, leaders: Leaders, events: Events) -> None:
        self._means = means
        self._gates = gates
        self._leaders = leaders
        self._events = events

    def consider(self, draft: Job, body: SpooledBody) -> Forerunner | None:
        """Begin to send a form of which ``draft`` is what came so far, if that can be done; ``body`` still grows."""
        means = self._means
        target = self._target(draft)
        leader = None if target is None else self._leaders.get(target.channel.api)
        if target is None or leader is None:
            return None
        channel = target.channel
        job = replace(draft, facts=target.facts or draft.facts)
        wire = means.wires.codecs[channel.api].encode(job, channel, target.sent_model, target.tool_sent_model)
        splices = (*wire.splices, *translations(job, target))
        whole = sketch(channel, wire, splices, draft.body_map.length)
        growing = Growing(body, whole)
        call = Call(
            channel=channel,
            wire=wire,
            body=body,
            job=job,
            sent_model=target.sent_model,
            connect_s=channel.timeouts.connect_s,
            idle_s=SILENT_S,
            give_up_at=asyncio.get_running_loop().time() + LONGEST_S,
            overdue=Cause.PATIENCE,
        )
        runner = Forerunner(call, growing, self._gates, self._tell, means.clock.monotonic())
        if not self._gates.visit(channel.name, channel.max_in_flight, runner):
            return None
        with ExitStack() as undo:
            undo.callback(runner.cut)  # nobody else would give its place back
            runner.go(leader)
            undo.pop_all()
        return runner

    def _target(self, draft: Job) -> Target | None:
        """Give the one target of a draft, if nothing speaks against it."""
        table, view = self._means.table(), self._means.roster.view()
        facts, principal = draft.facts, draft.principal
        if not asks_anew(draft.directives) or forbidden(facts, principal, table) is not None:
            return None
        planned = plan(facts, draft.directives, table, view)
        agreed = agree(planned, facts, principal) if isinstance(planned, Plan) else None
        return lone_target(agreed, view) if isinstance(agreed, Agreement) else None

    def _tell(self, call: Call, size: int, why: End) -> None:
        """Say who was sent a part of a form that nobody made a call of."""
        self._events.emit(
            {
                "event": "form.cut",
                "time": timestamp(self._means.clock.now()),
                "request_id": call.job.request_id,
                "channel": call.channel.name,
                "bytes": size,
                "reason": why.value,
            }
        )
