"""The key that prompts are hashed with, for all servers of a ledger; or only what it looks like."""

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "prompt_keys",
        sa.Column("name", sa.String(16), nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("secret", sa.String(128)),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_prompt_keys")),
    )
