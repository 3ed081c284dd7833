"""The last logins are remembered by control alone; nothing ever wrote them here."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.drop_table("login_attempts")
