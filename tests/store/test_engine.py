"""One transaction: what is committed, what is rolled back, and what is said when the database goes away."""

import sqlite3
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy import event

from scsipub.errors import OperatorError
from scsipub.store import journal
from scsipub.store.engine import Engine, database_url
from scsipub.store.errors import Conflict, StoreUnavailable
from scsipub.store.migrate import migrate
from tests.store.conftest import NOW


@pytest.fixture
def on_postgres(postgres):
    engine = Engine(database_url(postgres.url("ours"), None))
    engine.transact(lambda c: c.execute(sa.text("TRUNCATE events")))
    yield engine
    engine.close()


def count(connection) -> int:
    return connection.execute(sa.text("SELECT count(*) FROM events")).scalar()


def test_what_a_function_did_is_kept_when_it_returns(do):
    do(journal.note, "a", "b", NOW)

    assert do(count) == 1


def test_what_a_function_did_is_undone_when_it_raises(do):
    def note_and_fail(connection):
        journal.note(connection, "a", "b", NOW)
        raise ValueError("never mind")

    with pytest.raises(ValueError, match="never mind"):
        do(note_and_fail)

    assert do(count) == 0


def test_a_value_that_does_not_fit_is_a_conflict_and_is_not_shown(on_postgres):
    with pytest.raises(Conflict) as refused:
        on_postgres.transact(journal.note, "canary" * 50, "text", NOW)

    assert "canary" not in str(refused.value)


def test_each_commit_to_sqlite_is_on_the_medium(tmp_path):
    engine = Engine(database_url(None, tmp_path))

    def pragmas(connection):
        names = ("journal_mode", "synchronous", "foreign_keys")
        return [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]

    assert engine.transact(pragmas) == ["wal", 2, 1]
    engine.close()


def test_the_file_is_for_its_owner_only(tmp_path):
    engine = Engine(database_url(None, tmp_path))
    engine.transact(lambda c: c.execute(sa.text("CREATE TABLE t (n integer)")))

    assert {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()} == {0o600}
    engine.close()


def test_an_acknowledged_commit_to_postgresql_is_durable_whatever_the_servers_default(on_postgres):
    assert on_postgres.transact(lambda c: c.exec_driver_sql("SHOW synchronous_commit").scalar()) == "on"


# -- URLs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "driver"),
    [
        (None, "sqlite"),
        ("sqlite:////x/y.db", "sqlite"),
        ("postgresql://u@h/n", "postgresql+psycopg"),
        ("postgres://u@h/n", "postgresql+psycopg"),
        ("postgresql+psycopg://u@h/n", "postgresql+psycopg"),
    ],
)
def test_the_url_decides_the_engine(said, driver):
    assert database_url(said, Path("/x")).drivername == driver


@pytest.mark.parametrize("said", ["mysql://h/n", "nonsense", "", "sqlite://", "postgresql://h:port/n"])
def test_other_databases_are_refused_in_plain_words(said):
    with pytest.raises(OperatorError, match="postgresql://USER@HOST/NAME"):
        database_url(said, Path("/x"))


def test_a_password_is_not_shown():
    engine = Engine(database_url("postgresql://u:canary@h/n", Path("/x")))

    assert "canary" not in engine.shown


# -- away ----------------------------------------------------------------------------------------------------


def end_connection(postgres, connection) -> None:
    pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
    postgres.execute(f"SELECT pg_terminate_backend({pid}, 5000)")


def test_a_connection_of_before_a_restart_is_replaced_without_a_word(postgres, on_postgres):
    on_postgres.transact(count)
    postgres.kill()
    postgres.start()

    assert on_postgres.transact(count) == 0


def test_a_connection_that_is_lost_before_the_commit_costs_nothing(postgres, on_postgres):
    lives = []

    def note(connection):
        journal.note(connection, "a", "b", NOW)
        if not lives:
            lives.append(1)
            end_connection(postgres, connection)
        journal.note(connection, "a", "b", NOW)

    on_postgres.transact(note)

    assert on_postgres.transact(count) == 2


def test_a_connection_that_is_lost_in_the_commit_leaves_the_outcome_unknown(postgres, on_postgres):
    lost = []

    @event.listens_for(on_postgres.sa, "commit")
    def lose(connection):
        if lost:
            return
        lost.append(1)
        pid = connection.connection.dbapi_connection.info.backend_pid
        postgres.execute(f"SELECT pg_terminate_backend({pid}, 5000)")

    with pytest.raises(StoreUnavailable) as away:
        on_postgres.transact(journal.note, "a", "b", NOW)

    assert away.value.unknown
    assert on_postgres.transact(count) in (0, 1)


def test_no_server_is_said_and_the_outcome_is_known(postgres, on_postgres):
    postgres.kill()
    try:
        with pytest.raises(StoreUnavailable) as away:
            on_postgres.transact(count)
    finally:
        postgres.start()

    assert not away.value.unknown
    assert "\n" not in str(away.value)


def test_a_sqlite_file_that_somebody_holds_is_away_until_they_let_go(tmp_path):
    engine = Engine(database_url(None, tmp_path))
    engine.transact(lambda c: c.exec_driver_sql("CREATE TABLE t (n integer)"))
    engine.transact(lambda c: c.exec_driver_sql("PRAGMA busy_timeout=20"))
    other = sqlite3.connect(tmp_path / "scsipub.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    with pytest.raises(StoreUnavailable, match="locked"):
        engine.transact(lambda c: c.exec_driver_sql("INSERT INTO t VALUES (1)"))

    other.execute("ROLLBACK")
    engine.transact(lambda c: c.exec_driver_sql("INSERT INTO t VALUES (1)"))
    other.close()
    engine.close()


def test_a_statement_is_never_quoted_in_what_is_said(engine):
    with pytest.raises((StoreUnavailable, sa.exc.DBAPIError)) as wrong:
        engine.transact(lambda c: c.execute(sa.text("SELECT :s FROM nowhere"), {"s": "canary"}))

    assert "canary" not in str(wrong.value)


def test_no_commit_to_sqlite_pays_for_those_before_it(tmp_path):
    """A checkpoint within a commit is what one in fifty would wait for: it is made beside them."""
    engine = Engine(database_url(None, tmp_path))
    migrate(engine)
    engine.checkpoint()
    before = (tmp_path / "scsipub.db").read_bytes()
    for _ in range(350):
        engine.transact(journal.note, "kind", "text " * 200, NOW)
    log = tmp_path / "scsipub.db-wal"

    assert log.stat().st_size > 1000 * 4096, "SQLite left to itself would have moved them"
    assert (tmp_path / "scsipub.db").read_bytes() == before

    engine.checkpoint()

    assert (tmp_path / "scsipub.db").read_bytes() != before
    assert engine.transact(count) == 350
    engine.close()


def test_a_checkpoint_goes_on_while_somebody_writes(tmp_path):
    engine = Engine(database_url(None, tmp_path))
    migrate(engine)

    def note_and_look(connection):
        journal.note(connection, "a", "b", NOW)
        engine.checkpoint()

    engine.transact(note_and_look)

    assert engine.transact(count) == 1
    engine.close()
