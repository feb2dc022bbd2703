"""Flights without a key, found fast while there are few of them: whether any waits for its client."""

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

UNNAMED = sa.text("key_hash IS NULL")


def upgrade() -> None:
    op.create_index("ix_flights_adrift", "flights", ["expires_us"], sqlite_where=UNNAMED, postgresql_where=UNNAMED)
