"""What a request that may have bought a picture sent, until it is settled; found again once it never will be."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

CUT = sa.text("state = 'interrupted'")


def upgrade() -> None:
    op.add_column("requests", sa.Column("body_hash", sa.String(64)))
    op.create_index("ix_requests_cut", "requests", ["body_hash"], sqlite_where=CUT, postgresql_where=CUT)
