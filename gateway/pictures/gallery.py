"""Everything of kept pictures, wired: their store, their books, their keys, who keeps them and who ends them.

Part of the composition, for the server and for the command line; it decides nothing.
"""

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Final

from msgspec import Struct, field

from gateway.core.assets import PREFIX, AssetId
from gateway.core.table import Settings
from gateway.dice import Dice
from gateway.mint import Mint
from gateway.pictures.keeper import Keeper, KeeperMeans
from gateway.pictures.retention import Retention, RetentionMeans
from gateway.ports import Clock, Events
from gateway.stores.asset_ends_sql import SqlAssetEnds
from gateway.stores.assets import OpenBlobs, open_blobs
from gateway.stores.assets_file import FileBlobs
from gateway.stores.assets_sql import SqlAssets, open_assets
from gateway.stores.signing_keys import REREAD, SigningKeys, open_signing_keys

LATE: Final = "late"  # below the data directory: pictures that the store has not taken yet


class Gallery(Struct, frozen=True, kw_only=True):
    """The pictures' side of a gateway. ``start`` and ``stop`` run on the event loop that serves it."""

    settings: Settings
    blobs: OpenBlobs
    shelf: FileBlobs
    books: SqlAssets
    keys: SigningKeys
    keeper: Keeper
    clock: Clock
    tasks: list[asyncio.Future[None]] = field(default_factory=list)

    def retention(self, *, dry: bool = False) -> Retention:
        """Give who ends pictures; ``dry``: only says what it would do."""
        return Retention(
            RetentionMeans(
                books=SqlAssetEnds(self.books),
                blobs=self.blobs,
                clock=self.clock,
                most_bytes=self.settings.assets.most_bytes,
                dry=dry,
            )
        )

    def start(self, events: Events) -> None:
        """Begin what goes on beside the requests."""
        for work in (self.keeper.run(), self.retention().run(events), self._reread()):
            self.tasks.append(asyncio.ensure_future(work))

    async def stop(self) -> None:
        """End it, once what is being stored is stored."""
        await self.keeper.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        self.close()

    def close(self) -> None:
        """Close the stores."""
        for store in (self.blobs, self.shelf, self.books, self.keys):
            store.close()

    async def _reread(self) -> None:
        while True:
            await asyncio.sleep(REREAD.total_seconds())
            await asyncio.to_thread(self.keys.reread)


def open_gallery(settings: Settings, data_dir: Path, clock: Clock, events: Events) -> Gallery:
    """Open the stores of a ledger that was opened (and so upgraded) before. Raises ``LedgerRefused``."""
    blobs, shelf = open_blobs(settings.assets), FileBlobs(data_dir / LATE)
    books, keys = open_assets(settings.database), open_signing_keys(settings.database)
    keys.reread()
    mint = Mint(clock, Dice())
    keeper = Keeper(
        KeeperMeans(
            blobs=blobs,
            shelf=shelf,
            books=books,
            signer=keys.signer,
            clock=clock,
            events=events,
            new_asset_id=lambda: AssetId(mint.new(PREFIX)),
            ttl=timedelta(seconds=settings.assets.ttl_s),
            public_url=settings.server.public_url,
        )
    )
    return Gallery(settings=settings, blobs=blobs, shelf=shelf, books=books, keys=keys, keeper=keeper, clock=clock)
