"""Targets remember of which end their tenant has been warned."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("targets", sa.Column("warned", sa.DateTime(timezone=True)))
