"""How the last smoke run of each row ended, by surface and account."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "verifications",
        sa.Column("channel", sa.String(64), nullable=False),
        sa.Column("row", sa.Text, nullable=False),
        sa.Column("surface", sa.String(64), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("time_us", sa.BigInteger, nullable=False),
        sa.Column("passed", sa.Integer, nullable=False),
        sa.PrimaryKeyConstraint("channel", "row", "surface", "fingerprint", name=op.f("pk_verifications")),
        sa.CheckConstraint("passed IN (0, 1)", name=op.f("ck_verifications_passed")),
    )
