"""The ledger: requests and the attempts made for them."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("endpoint", sa.Text, nullable=False),
        sa.Column("asked_model", sa.Text),
        sa.Column("owner", sa.Text),
        sa.Column("channel", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("failure", sa.Text),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("config_version", sa.Text),
        sa.Column("record", sa.Text),
        sa.PrimaryKeyConstraint("request_id", name=op.f("pk_requests")),
        sa.CheckConstraint("state IN ('open', 'done', 'interrupted')", name=op.f("ck_requests_state")),
    )
    op.create_table(
        "attempts",
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.Column("n", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("attempt_id", sa.String(64), nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("row", sa.Text, nullable=False),
        sa.Column("surface", sa.Text, nullable=False),
        sa.Column("region", sa.Text),
        sa.Column("sent_model", sa.Text, nullable=False),
        sa.Column("started_us", sa.BigInteger, nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("outcome", sa.Text),
        sa.Column("failure", sa.Text),
        sa.Column("detail", sa.Text),
        sa.Column("status", sa.Integer),
        sa.Column("duration_ms", sa.BigInteger),
        sa.PrimaryKeyConstraint("request_id", "n", name=op.f("pk_attempts")),
        sa.ForeignKeyConstraint(["request_id"], ["requests.request_id"], name=op.f("fk_attempts_request_id")),
        sa.UniqueConstraint("attempt_id", name=op.f("uq_attempts_attempt_id")),
        sa.CheckConstraint("state IN ('sent', 'ended', 'interrupted')", name=op.f("ck_attempts_state")),
    )
    failed = sa.text("(failure IS NOT NULL OR status >= 400 OR state = 'interrupted')")
    classed = sa.text("failure IS NOT NULL")
    is_open = sa.text("state = 'open'")
    sent = sa.text("state = 'sent'")
    op.create_index("ix_requests_owner", "requests", ["owner", "request_id"])
    op.create_index("ix_requests_asked_model", "requests", ["asked_model", "request_id"])
    op.create_index(
        "ix_requests_failure",
        "requests",
        ["failure", "request_id"],
        sqlite_where=classed,
        postgresql_where=classed,
    )
    op.create_index("ix_requests_failed", "requests", ["request_id"], sqlite_where=failed, postgresql_where=failed)
    op.create_index("ix_requests_open", "requests", ["request_id"], sqlite_where=is_open, postgresql_where=is_open)
    op.create_index("ix_attempts_sent", "attempts", ["request_id"], sqlite_where=sent, postgresql_where=sent)
