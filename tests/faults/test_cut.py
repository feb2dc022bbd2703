"""The gateway waits no longer: each call under way breaks at once, and says that it was our doing."""

import asyncio

import pytest

from gateway.core.types import Cause, Phase
from gateway.upstream.client import Upstream
from tests.fakes import script as fake
from tests.fakes.script import Script
from tests.fakes.upstream import FakeUpstream
from tests.faults.calls import call, observe


@pytest.mark.parametrize(
    ("script", "phase"),
    [(fake.hang(), Phase.SENT), (fake.stall(), Phase.ANSWERED), (fake.trickle(), Phase.ANSWERED)],
    ids=["no head", "half a body", "a trickle"],
)
async def test_what_is_under_way_breaks_at_once(sender: Upstream, script: Script, phase: Phase) -> None:
    async with FakeUpstream(default=script) as upstream, asyncio.timeout(5):
        seen = asyncio.ensure_future(observe(sender, call(upstream.url)))
        await upstream.counted(1)
        await asyncio.sleep(0.2)
        await sender.cut()
        assert (await seen).words == (phase, Cause.INTERRUPTED)


async def test_what_comes_later_is_not_sent(sender: Upstream) -> None:
    async with FakeUpstream() as upstream:
        await sender.cut()
        assert (await observe(sender, call(upstream.url))).words == (Phase.UNSENT, Cause.INTERRUPTED)
        assert upstream.count == 0
