"""The hand brakes of channels."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "brakes",
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("until_us", sa.BigInteger),
        sa.Column("reason", sa.Text),
        sa.Column("set_us", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("channel", name=op.f("pk_brakes")),
        sa.CheckConstraint("state IN ('on', 'drained', 'off')", name=op.f("ck_brakes_state")),
    )
