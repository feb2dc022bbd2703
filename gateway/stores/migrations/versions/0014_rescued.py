"""Pictures that a client got although another had left, and requests that may be paid for and have no answer."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

LOST = """
requests.state <> 'open' AND (requests.status IS NULL OR requests.status >= 400) AND EXISTS (
    SELECT 1 FROM attempts AS made WHERE made.request_id = requests.request_id
    AND made.outcome IN ('delivered', 'unknown') AND coalesce(made.detail, '') <> 'ledger_timeout'
)
"""

REQUESTS = f"""
INSERT INTO request_sums
SELECT time_us / 86400000000, coalesce(owner, ''), coalesce(channel, ''), coalesce(asked_model, ''),
    coalesce(key_id, ''), coalesce(team, ''), 0, 0, 0, 0, 0, 0, 0, 0, count(*)
FROM requests WHERE {LOST} GROUP BY 1, 2, 3, 4, 5, 6
ON CONFLICT (day, owner, channel, model, key_id, team, shard) DO UPDATE SET lost = excluded.lost
"""

ATTEMPTS = f"""
INSERT INTO attempt_sums
SELECT requests.time_us / 86400000000, attempts.owner, attempts.channel, coalesce(requests.asked_model, ''),
    coalesce(requests.key_id, ''), coalesce(requests.team, ''), coalesce(outcome, ''), coalesce(cost_unit, ''),
    coalesce(cost_currency, ''), coalesce(cost_state, ''), 0, 0, 0, 0, 0, 0, coalesce(sum(cost_micro), 0)
FROM attempts JOIN requests ON requests.request_id = attempts.request_id
WHERE attempts.state <> 'sent' AND coalesce(attempts.detail, '') <> 'ledger_timeout' AND {LOST}
GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
ON CONFLICT (day, owner, channel, model, key_id, team, outcome, unit, currency, state, shard)
DO UPDATE SET lost_micro = excluded.lost_micro
"""  # noqa: S608 (the words are this file's own)


def upgrade() -> None:
    op.add_column("requests", sa.Column("rescued", sa.Integer))
    for table, names in (("request_sums", ("rescued", "lost")), ("attempt_sums", ("rescued_micro", "lost_micro"))):
        for name in names:
            op.add_column(table, sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.execute(REQUESTS)
    op.execute(ATTEMPTS)
