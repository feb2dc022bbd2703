"""The indexes of the ledger's tables, and the list of tables with them: what the revisions make, said once more.

Apart from the tables, because nothing that runs needs them: a test holds the revisions to them. SQLAlchemy loads the
dialect of every database that an index has words for, and a server on SQLite has no use for the other one.
"""

from sqlalchemy import Index

from gateway.stores.metadata import metadata
from gateway.stores.schema import (
    CLASSED,
    CUT,
    DOOMED,
    FAILED,
    HERE,
    OPEN,
    SENT,
    UNNAMED,
    asset_parents,
    assets,
    attempts,
    blobs,
    flights,
    keys,
    requests,
)

__all__ = ["metadata"]  # complete once this module is loaded

Index("ix_keys_changed", keys.c.changed)
Index("ix_requests_owner", requests.c.owner, requests.c.request_id)
Index("ix_requests_asked_model", requests.c.asked_model, requests.c.request_id)
Index("ix_requests_channel", requests.c.channel, requests.c.request_id)
Index("ix_requests_key_id", requests.c.key_id, requests.c.request_id)
Index("ix_requests_status", requests.c.status, requests.c.request_id)
# All that listings are filtered by, small and in order: a request's row is large, and most of its page is its record.
Index(
    "ix_requests_listing",
    requests.c.request_id,
    requests.c.owner,
    requests.c.channel,
    requests.c.asked_model,
    requests.c.key_id,
    requests.c.status,
    requests.c.failure,
    requests.c.state,
)
Index("ix_requests_failure", requests.c.failure, requests.c.request_id, sqlite_where=CLASSED, postgresql_where=CLASSED)
Index("ix_requests_failed", requests.c.request_id, sqlite_where=FAILED, postgresql_where=FAILED)
Index("ix_requests_open", requests.c.request_id, sqlite_where=OPEN, postgresql_where=OPEN)
Index("ix_requests_cut", requests.c.body_hash, sqlite_where=CUT, postgresql_where=CUT)
Index("ix_attempts_sent", attempts.c.request_id, sqlite_where=SENT, postgresql_where=SENT)
Index("ix_flights_adrift", flights.c.expires_us, sqlite_where=UNNAMED, postgresql_where=UNNAMED)

Index("ix_assets_request_id", assets.c.request_id)
Index("ix_assets_key_id", assets.c.key_id, assets.c.asset_id, sqlite_where=HERE, postgresql_where=HERE)
Index("ix_assets_model", assets.c.model, assets.c.asset_id, sqlite_where=HERE, postgresql_where=HERE)
Index("ix_assets_verdict", assets.c.verdict, assets.c.asset_id, sqlite_where=HERE, postgresql_where=HERE)
Index("ix_assets_sha256", assets.c.sha256, assets.c.key_id, assets.c.asset_id, sqlite_where=HERE, postgresql_where=HERE)
Index("ix_assets_expires_us", assets.c.expires_us, sqlite_where=HERE, postgresql_where=HERE)
Index("ix_assets_here", assets.c.asset_id, sqlite_where=HERE, postgresql_where=HERE)
Index("ix_asset_parents_parent_id", asset_parents.c.parent_id, asset_parents.c.asset_id)
Index("ix_blobs_doomed_us", blobs.c.doomed_us, sqlite_where=DOOMED, postgresql_where=DOOMED)
