"""The tables.  SQLite and PostgreSQL alike; the migrations lead here, and a test compares the two.

Ids are made by the server and say nothing.  Lists that are only ever read and written whole are JSON."""

from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Dialect

metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

Id = sa.String(32)


class Moment(sa.types.TypeDecorator[datetime]):
    """A time in UTC.  SQLite keeps no time zone, so it is taken off and put on again."""

    impl = sa.DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("a time without a zone")
        value = value.astimezone(UTC)
        return value.replace(tzinfo=None) if dialect.name == "sqlite" else value

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


# An integer that counts up by itself: SQLite does that for INTEGER only.
Serial = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _owned(column: str, table: str, *, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(column, Id, sa.ForeignKey(f"{table}.id", ondelete="CASCADE"), nullable=nullable)


# Which state directory this database belongs to: one row.
installation = sa.Table(
    "installation",
    metadata,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("instance", sa.String(64), nullable=False),
)

tiers = sa.Table(
    "tiers",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    sa.Column("terms", sa.JSON, nullable=False),
    sa.Column("from_file", sa.Boolean, nullable=False),  # the configuration says so; it alone changes them
)

tenants = sa.Table(
    "tenants",
    metadata,
    sa.Column("id", Id, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False, unique=True),
    sa.Column("tier", sa.String(64), sa.ForeignKey("tiers.name"), nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("suspended", sa.Boolean, nullable=False),
)

tenant_certificates = sa.Table(
    "tenant_certificates",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owned("tenant_id", "tenants"),
    sa.Column("identity", sa.String(300), nullable=False, unique=True),  # sha256:… or name:…
    sa.Column("created", Moment, nullable=False),
    sa.Index("ix_tenant_certificates_tenant_id", "tenant_id"),
)

tokens = sa.Table(
    "tokens",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owned("tenant_id", "tenants", nullable=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),  # SHA-256 of the secret half
    sa.Column("scopes", sa.JSON, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("expires", Moment),
    sa.Column("last_used", Moment),
    sa.Column("revoked", Moment),
    sa.Index("ix_tokens_tenant_id", "tenant_id"),
)

images = sa.Table(
    "images",
    metadata,
    sa.Column("name", sa.String(64), primary_key=True),
    _owned("tenant_id", "tenants", nullable=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("format", sa.String(16), nullable=False),
    sa.Column("imported", Moment, nullable=False),
    sa.Column("origin", sa.String(1024), nullable=False),
)

targets = sa.Table(
    "targets",
    metadata,
    sa.Column("id", Id, primary_key=True),
    # Not in cascade: a tenant goes only after the disks of what it rented are gone.
    sa.Column("tenant_id", Id, sa.ForeignKey("tenants.id"), nullable=False),
    sa.Column("tier", sa.String(64), sa.ForeignKey("tiers.name"), nullable=False),
    sa.Column("alias", sa.String(255), nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(1024), nullable=False),
    sa.Column("nexus", sa.String(16), nullable=False),
    sa.Column("initiators", sa.JSON, nullable=False),
    sa.Column("tls_required", sa.Boolean, nullable=False),
    sa.Column("algorithm_floor", sa.Integer, nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.Column("expires", Moment),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("certificate_required", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("warned", Moment),
    sa.Index("ix_targets_created_id", "created", "id"),
    sa.Index("ix_targets_tenant_id_created_id", "tenant_id", "created", "id"),
    sa.Index("ix_targets_state_expires", "state", "expires"),
)

units = sa.Table(
    "units",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owned("target_id", "targets"),
    sa.Column("lun", sa.Integer, nullable=False),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("budget", sa.BigInteger, nullable=False),
    sa.Column("block_size", sa.Integer, nullable=False),
    sa.Column("image", sa.String(64)),
    sa.Column("image_sha256", sa.String(64), nullable=False),
    sa.Column("base_bytes", sa.BigInteger, nullable=False),
    sa.Column("read_only", sa.Boolean, nullable=False),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("reason", sa.String(1024), nullable=False),
    sa.Column("created", Moment, nullable=False),
    sa.UniqueConstraint("target_id", "lun"),
)

chap_secrets = sa.Table(
    "chap_secrets",
    metadata,
    sa.Column("id", Id, primary_key=True),
    _owned("target_id", "targets"),
    sa.Column("user", sa.String(255), nullable=False),
    sa.Column("key_id", sa.String(16), nullable=False),
    sa.Column("nonce", sa.LargeBinary(12), nullable=False),
    sa.Column("sealed", sa.LargeBinary(512), nullable=False),
    sa.Column("mutual_user", sa.String(255)),
    sa.Column("mutual_nonce", sa.LargeBinary(12)),
    sa.Column("mutual_sealed", sa.LargeBinary(512)),
    sa.UniqueConstraint("target_id", "user"),
)

reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("unit_id", Id, sa.ForeignKey("units.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("version", sa.Integer, nullable=False),
    sa.Column("generation", sa.BigInteger, nullable=False),
    sa.Column("kind", sa.Integer),
    sa.Column("holder", sa.JSON(none_as_null=True)),
    sa.Column("registrations", sa.JSON, nullable=False),
    sa.Column("aptpl", sa.Boolean, nullable=False),
    sa.Column("boot", sa.String(64), nullable=False),
)

# History outlives what it is about: no foreign keys.
events = sa.Table(
    "events",
    metadata,
    sa.Column("id", Serial, primary_key=True, autoincrement=True),
    sa.Column("at", Moment, nullable=False),
    sa.Column("kind", sa.String(64), nullable=False),
    sa.Column("text", sa.String(1024), nullable=False),
    sa.Column("tenant_id", Id),
    sa.Column("target_id", Id),
    sa.Column("data", sa.JSON, nullable=False),
    sa.Index("ix_events_tenant_id_id", "tenant_id", "id"),
    sa.Index("ix_events_target_id_id", "target_id", "id"),
)

idempotency = sa.Table(
    "idempotency",
    metadata,
    sa.Column("caller", Id, primary_key=True),
    sa.Column("key", sa.String(128), primary_key=True),
    sa.Column("request", sa.String(64), nullable=False),
    sa.Column("status", sa.Integer, nullable=False),
    sa.Column("sealed", sa.LargeBinary),  # the answer: it may show a secret
    sa.Column("nonce", sa.LargeBinary(12)),
    sa.Column("key_id", sa.String(16)),
    sa.Column("until", Moment, nullable=False),
    sa.Index("ix_idempotency_until", "until"),
)
