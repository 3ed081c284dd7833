"""From whatever version of the tables is there to ours, at each start.

Knows Alembic; the steps are in ``migrations/versions``.  There is no way back: a database that a newer
scsipub has written is refused, not guessed at."""

import logging
from pathlib import Path

import sqlalchemy as sa

from scsipub.errors import OperatorError
from scsipub.store.engine import Engine

SCRIPTS = Path(__file__).parent / "migrations"
# The version that ``schema`` describes.  Said here too, so that a start with nothing to do needs no Alembic.
HEAD = "0004"


def current(engine: Engine) -> str | None:
    """The version that is there; None in an empty database."""

    def read(connection: sa.Connection) -> str | None:
        if not sa.inspect(connection).has_table("alembic_version"):
            return None
        found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        return None if found is None else str(found)

    return engine.transact(read)


def migrate(engine: Engine) -> str | None:
    """Bring the tables to HEAD; the version they had.  Raises OperatorError, StoreUnavailable."""
    before = current(engine)
    if before != HEAD:
        _upgrade(engine, before)
    return before


def _upgrade(engine: Engine, before: str | None) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    logging.getLogger("alembic").setLevel(logging.WARNING)
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if before is not None and before not in known:
        raise OperatorError(
            f"The database {engine.shown} was written by a newer scsipub (version {before}).",
            f"Run that one; this one knows {HEAD}.",
        )

    def upgrade(connection: sa.Connection) -> None:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")

    # All steps in one transaction: a start that is killed leaves what was there.
    engine.transact(upgrade)
