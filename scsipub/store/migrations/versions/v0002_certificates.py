"""Client certificates that tenants have, and targets that ask for one."""

import sqlalchemy as sa
from alembic import op

from scsipub.store.schema import Moment

revision = "0002"
down_revision = "0001"
branch_labels = depends_on = None


def upgrade() -> None:
    # What is there keeps its rule; from then on each row says it.
    op.add_column(
        "targets",
        sa.Column("certificate_required", sa.Boolean(), nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "tenant_certificates",
        sa.Column("id", sa.String(length=32), nullable=False),
        sa.Column("tenant_id", sa.String(length=32), nullable=False),
        sa.Column("identity", sa.String(length=300), nullable=False),
        sa.Column("created", Moment(), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id"],
            ["tenants.id"],
            name=op.f("fk_tenant_certificates_tenant_id"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tenant_certificates")),
        sa.UniqueConstraint("identity", name=op.f("uq_tenant_certificates_identity")),
    )
    op.create_index("ix_tenant_certificates_tenant_id", "tenant_certificates", ["tenant_id"], unique=False)
