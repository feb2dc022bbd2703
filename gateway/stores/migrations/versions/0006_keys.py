"""Virtual keys, what is held for their requests, and the journal of their balances."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("digest", sa.String(64), nullable=False),
        sa.Column("hint", sa.String(16), nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.Column("terms", sa.Text, nullable=False),
        sa.Column("is_admin", sa.Integer, nullable=False),
        sa.Column("created_us", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger),
        sa.Column("revoked_us", sa.BigInteger),
        sa.Column("credits", sa.BigInteger),
        sa.Column("credits_held", sa.BigInteger, nullable=False),
        sa.Column("budget_micro", sa.BigInteger),
        sa.Column("window_no", sa.BigInteger, nullable=False),
        sa.Column("spent_micro", sa.BigInteger, nullable=False),
        sa.Column("held_micro", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_keys")),
        sa.UniqueConstraint("digest", name=op.f("uq_keys_digest")),
        sa.CheckConstraint("credits >= 0 AND credits_held >= 0 AND held_micro >= 0", name=op.f("ck_keys_balance")),
    )
    op.create_index("ix_keys_changed", "keys", ["changed"])
    op.create_table(
        "holds",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("attempt", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("window_no", sa.BigInteger, nullable=False),
        sa.Column("expires_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "attempt", "unit", name=op.f("pk_holds")),
        sa.ForeignKeyConstraint(["key_id"], ["keys.key_id"], name=op.f("fk_holds_key_id")),
    )
    op.create_index("ix_holds_expires_us", "holds", ["expires_us"])
    op.create_table(
        "entries",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("attempt", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("unit", sa.String(16), nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("amount", sa.BigInteger, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("request_id", "kind", "attempt", "unit", name=op.f("pk_entries")),
        sa.CheckConstraint("kind IN ('grant', 'hold', 'capture', 'void')", name=op.f("ck_entries_kind")),
        sa.CheckConstraint("amount >= 0", name=op.f("ck_entries_amount")),
    )
    op.create_index("ix_entries_key_id", "entries", ["key_id", "request_id"])
