"""Tables come to be by migrations, and are what the schema says."""

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from scsipub.errors import OperatorError
from scsipub.store import journal
from scsipub.store.engine import Engine, database_url
from scsipub.store.migrate import HEAD, SCRIPTS, current, migrate
from scsipub.store.schema import metadata
from tests.store.conftest import NOW


def test_migrations_lead_to_the_schema(do):
    def differences(connection):
        return compare_metadata(MigrationContext.configure(connection), metadata)

    assert do(differences) == []


def test_the_version_said_in_the_code_is_the_last_migration():
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))

    assert ScriptDirectory.from_config(config).get_heads() == [HEAD]


def test_an_empty_database_is_brought_up_and_then_left_alone(tmp_path):
    engine = Engine(database_url(None, tmp_path))

    assert migrate(engine) is None
    assert migrate(engine) == HEAD
    engine.close()


def test_an_empty_postgresql_is_brought_up_too(postgres):
    postgres.execute("CREATE DATABASE empty")
    engine = Engine(database_url(postgres.url("empty"), None))

    migrate(engine)

    assert current(engine) == HEAD
    engine.close()


def test_a_database_of_the_version_before_keeps_its_rows_and_loses_what_nobody_wrote(tmp_path):
    engine = Engine(database_url(None, tmp_path))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("alembic.op.drop_table", lambda name: None)
        migrate(engine)

    def back(connection):
        journal.note(connection, "a", "kept", NOW)
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '0003'")

    engine.transact(back)
    assert "login_attempts" in engine.transact(lambda c: sa.inspect(c).get_table_names())

    assert migrate(engine) == "0003"

    assert "login_attempts" not in engine.transact(lambda c: sa.inspect(c).get_table_names())
    assert [each.text for each in engine.transact(journal.events).items] == ["kept"]
    engine.close()


def test_a_database_of_a_newer_version_is_refused(engine, do):
    do(lambda connection: connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'")))

    with pytest.raises(OperatorError, match="newer scsipub"):
        migrate(engine)


def test_a_start_that_dies_in_a_migration_leaves_what_was_there(tmp_path, monkeypatch):
    engine = Engine(database_url(None, tmp_path))

    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("alembic.op.create_index", dies)
    with pytest.raises(KeyboardInterrupt):
        migrate(engine)

    assert engine.transact(lambda connection: sa.inspect(connection).get_table_names()) == []
    engine.close()
