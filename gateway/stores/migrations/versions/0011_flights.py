"""Requests that somebody may come back for, and what they ended with."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "flights",
        sa.Column("flight_id", sa.String(64), nullable=False),
        sa.Column("scope", sa.String(64), nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("server_id", sa.String(64), nullable=False),
        sa.Column("key_hash", sa.String(64)),
        sa.Column("body_hash", sa.String(64), nullable=False),
        sa.Column("looks", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("is_stream", sa.Integer, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.Column("answer", sa.Text),
        sa.PrimaryKeyConstraint("flight_id", name=op.f("pk_flights")),
        sa.UniqueConstraint("scope", "endpoint", "key_hash", name=op.f("uq_flights_scope")),
    )
    op.create_index("ix_flights_looks", "flights", ["looks"])
    op.create_index("ix_flights_expires_us", "flights", ["expires_us"])
