"""Whose key asked, the tags of a request, sums by day, and what listings are filtered by."""

import json

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

REQUESTS = """
INSERT INTO request_sums
SELECT time_us / 86400000000, coalesce(owner, ''), coalesce(channel, ''), coalesce(asked_model, ''), '', '', 0,
    count(*), sum(CASE WHEN status < 400 THEN 1 ELSE 0 END), coalesce(sum(images), 0), 0, 0, 0
FROM requests WHERE state <> 'open' GROUP BY 1, 2, 3, 4
"""

ATTEMPTS = """
INSERT INTO attempt_sums
SELECT requests.time_us / 86400000000, attempts.owner, attempts.channel, coalesce(requests.asked_model, ''), '', '',
    coalesce(outcome, ''), coalesce(cost_unit, ''), coalesce(cost_currency, ''), coalesce(cost_state, ''), 0,
    count(*), sum(CASE WHEN attempts.n = first.n THEN 1 ELSE 0 END), coalesce(sum(cost_micro), 0),
    coalesce(sum(exposure_micro), 0)
FROM attempts JOIN requests ON requests.request_id = attempts.request_id
LEFT JOIN (
    SELECT request_id, min(n) AS n FROM attempts
    WHERE cost_state = 'missing' OR (cost_state IS NULL AND outcome NOT IN ('not_sent', 'refused'))
    GROUP BY request_id
) AS first ON first.request_id = attempts.request_id
WHERE requests.state <> 'open' AND attempts.state <> 'sent' AND coalesce(attempts.detail, '') <> 'ledger_timeout'
GROUP BY 1, 2, 3, 4, 7, 8, 9, 10
"""


def group() -> list[sa.Column]:
    return [
        sa.Column("day", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("channel", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("key_id", sa.String(64), nullable=False),
        sa.Column("team", sa.Text, nullable=False),
    ]


def fill_tags() -> None:
    connection = op.get_bind()
    tagged = connection.execute(sa.text("SELECT request_id, record FROM requests WHERE record LIKE '%\"tags\":%'"))
    rows = [
        {"tag": f"{name}={value}", "request_id": request_id}
        for request_id, record in tagged
        for name, value in (json.loads(record).get("tags") or {}).items()
    ]
    if rows:
        connection.execute(sa.text("INSERT INTO request_tags (tag, request_id) VALUES (:tag, :request_id)"), rows)


def upgrade() -> None:
    op.add_column("requests", sa.Column("key_id", sa.String(64)))
    op.add_column("requests", sa.Column("team", sa.Text))
    op.add_column("requests", sa.Column("credits", sa.BigInteger))
    op.create_table(
        "request_tags",
        sa.Column("tag", sa.String(160), nullable=False),
        sa.Column("request_id", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("tag", "request_id", name=op.f("pk_request_tags")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "request_sums",
        *group(),
        sa.Column("shard", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("requests", sa.BigInteger, nullable=False),
        sa.Column("delivered", sa.BigInteger, nullable=False),
        sa.Column("images", sa.BigInteger, nullable=False),
        sa.Column("accepted", sa.BigInteger, nullable=False),
        sa.Column("rejected", sa.BigInteger, nullable=False),
        sa.Column("credits", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "day", "owner", "channel", "model", "key_id", "team", "shard", name=op.f("pk_request_sums")
        ),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "attempt_sums",
        *group(),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("unit", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(16), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("shard", sa.Integer, autoincrement=False, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("missing", sa.BigInteger, nullable=False),
        sa.Column("amount_micro", sa.BigInteger, nullable=False),
        sa.Column("exposure_micro", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint(
            "day", "owner", "channel", "model", "key_id", "team", "outcome", "unit", "currency", "state", "shard",
            name=op.f("pk_attempt_sums"),
        ),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_requests_channel", "requests", ["channel", "request_id"])
    op.create_index("ix_requests_key_id", "requests", ["key_id", "request_id"])
    op.create_index("ix_requests_status", "requests", ["status", "request_id"])
    op.execute(REQUESTS)
    op.execute(ATTEMPTS)
    fill_tags()
