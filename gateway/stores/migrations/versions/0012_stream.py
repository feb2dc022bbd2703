"""Whether a request asks for a stream, known from its beginning on."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("requests", sa.Column("stream", sa.Integer))
