"""Two indexes that nothing reads by: open holds are few, and the journal is read whole. Each cost every request twice."""

from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_index("ix_holds_expires_us", "holds")
    op.drop_index("ix_entries_key_id", "entries")
