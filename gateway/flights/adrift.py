"""Whether anybody's flight is on file that no client has, and that this process does not know: looked for all the time.

So a request that nothing marks as a retry finds its flight at any server, and where there is none to find, which is
nearly always, no request looks. Flights of other servers come up while this one runs; those of earlier runs of this
one only become fewer, so that a ledger of one server is not looked at any more once there are none.
"""

import asyncio
from contextlib import suppress
from typing import Final

from gateway.ports import Clock, LedgerUnavailable
from gateway.ports.journal import Journal

LOOK_S: Final = 0.5  # who is told to come back does so after a second


class Adrift:
    """Looks for as long as it is started. ``anywhere``: there may be some; until the first look, that is."""

    def __init__(self, journal: Journal, clock: Clock, *, is_shared: bool) -> None:
        self.anywhere = True
        self._journal = journal
        self._clock = clock
        self._is_shared = is_shared
        self._looking: asyncio.Future[None] | None = None

    def start(self) -> None:
        """Look from now on."""
        self._looking = asyncio.ensure_future(self._look())

    async def stop(self) -> None:
        """Look no more."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.wait([self._looking])  # however it ended: what is stopped next has to be stopped, too

    async def _look(self) -> None:
        while self.anywhere or self._is_shared:
            with suppress(LedgerUnavailable):  # then it stays as it was
                self.anywhere = await self._journal.adrift(self._clock.now())
            await asyncio.sleep(LOOK_S)
