"""Which channel and account the ids of stored Responses belong to."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bindings",
        sa.Column("bound_id", sa.String(512), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("bound_id", "key_id", name=op.f("pk_bindings")),
        sqlite_with_rowid=False,
    )
