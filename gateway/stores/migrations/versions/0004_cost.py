"""What each attempt cost, and how many pictures each request delivered."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("attempts", sa.Column("cost_micro", sa.BigInteger))
    op.add_column("attempts", sa.Column("cost_currency", sa.String(16)))
    op.add_column("attempts", sa.Column("cost_unit", sa.String(32)))
    op.add_column("attempts", sa.Column("cost_state", sa.String(16)))
    op.add_column("attempts", sa.Column("exposure_micro", sa.BigInteger))
    op.add_column("attempts", sa.Column("price_id", sa.Text))
    op.add_column("requests", sa.Column("images", sa.Integer))
