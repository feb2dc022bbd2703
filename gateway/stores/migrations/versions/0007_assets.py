"""Kept pictures, their lineage, the bytes below them, and what their addresses are signed with."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

HERE = sa.text("gone_us IS NULL")
DOOMED = sa.text("doomed_us IS NOT NULL")


def upgrade() -> None:
    op.add_column("requests", sa.Column("verdict", sa.String(16)))
    op.create_table(
        "assets",
        sa.Column("asset_id", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("gone_us", sa.BigInteger),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("format", sa.String(16), nullable=False),
        sa.Column("width", sa.BigInteger),
        sa.Column("height", sa.BigInteger),
        sa.Column("alpha", sa.Integer),
        sa.Column("model", sa.Text),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("verdict", sa.String(16)),
        sa.PrimaryKeyConstraint("asset_id", name=op.f("pk_assets")),
        sa.CheckConstraint("verdict IN ('accepted', 'rejected')", name=op.f("ck_assets_verdict")),
    )
    op.create_table(
        "asset_parents",
        sa.Column("asset_id", sa.String(64), nullable=False),
        sa.Column("parent_id", sa.String(64), nullable=False),
        sa.Column("role", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("asset_id", "parent_id", "role", name=op.f("pk_asset_parents")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "blobs",
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("bytes", sa.BigInteger, nullable=False),
        sa.Column("stored_us", sa.BigInteger),
        sa.Column("doomed_us", sa.BigInteger),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blobs")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "signing_keys",
        sa.Column("created_us", sa.BigInteger, autoincrement=False, nullable=False),
        sa.Column("secret", sa.String(128), nullable=False),
        sa.PrimaryKeyConstraint("created_us", name=op.f("pk_signing_keys")),
    )
    op.create_index("ix_assets_request_id", "assets", ["request_id"])
    op.create_index("ix_assets_key_id", "assets", ["key_id", "asset_id"], sqlite_where=HERE, postgresql_where=HERE)
    op.create_index("ix_assets_model", "assets", ["model", "asset_id"], sqlite_where=HERE, postgresql_where=HERE)
    op.create_index("ix_assets_verdict", "assets", ["verdict", "asset_id"], sqlite_where=HERE, postgresql_where=HERE)
    op.create_index("ix_assets_sha256", "assets", ["sha256", "key_id", "asset_id"], sqlite_where=HERE, postgresql_where=HERE)
    op.create_index("ix_assets_expires_us", "assets", ["expires_us"], sqlite_where=HERE, postgresql_where=HERE)
    op.create_index("ix_assets_here", "assets", ["asset_id"], sqlite_where=HERE, postgresql_where=HERE)
    op.create_index("ix_asset_parents_parent_id", "asset_parents", ["parent_id", "asset_id"])
    op.create_index("ix_blobs_doomed_us", "blobs", ["doomed_us"], sqlite_where=DOOMED, postgresql_where=DOOMED)
