"""One suite, two engines: every test that takes ``engine`` or ``store`` runs on SQLite and on PostgreSQL."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from scsipub.store import tenants
from scsipub.store.engine import Engine, database_url
from scsipub.store.migrate import HEAD, migrate
from scsipub.store.records import Tenant
from scsipub.store.schema import metadata
from scsipub.store.store import Opened
from scsipub.store.vault import Vault
from scsipub.tiers import Tier
from tests.support.postgres import Server, server

NOW = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    with server() as running:
        running.execute("CREATE DATABASE ours")
        engine = Engine(database_url(running.url("ours"), None))
        migrate(engine)
        engine.close()
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request) -> str | None:
    """What ``--database`` would say.  PostgreSQL has empty tables then, SQLite nothing at all."""
    if request.param == "sqlite":
        return None
    running = request.getfixturevalue("postgres")
    names = ", ".join(table.name for table in metadata.sorted_tables)
    running.execute(f"TRUNCATE {names} RESTART IDENTITY", database="ours")
    running.execute(f"UPDATE alembic_version SET version_num = '{HEAD}'", database="ours")
    return running.url("ours")


@pytest.fixture
def engine(url, tmp_path) -> Iterator[Engine]:
    engine = Engine(database_url(url, tmp_path))
    migrate(engine)
    yield engine
    engine.close()


@pytest.fixture
def do(engine):
    """Run a function of the store in a transaction."""
    return engine.transact


@pytest.fixture
def seeded():
    """Randomness that is the same in each run."""
    return random.Random(7).randbytes


@pytest.fixture
def vault(tmp_path, seeded) -> Vault:
    return Vault.create(tmp_path / "keys", seeded)


@pytest.fixture
def opened(engine, vault) -> Opened:
    return Opened(engine, vault)


@pytest.fixture
def tenant(do, seeded) -> Tenant:
    do(tenants.put_tier, Tier(name="small", allocation_budget=1 << 30, persistent=True))
    return do(tenants.create_tenant, "ada", "small", NOW, seeded)
