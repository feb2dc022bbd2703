"""All that listings are filtered by, in one small index."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_requests_listing",
        "requests",
        ["request_id", "owner", "channel", "asked_model", "key_id", "status", "failure", "state"],
    )
