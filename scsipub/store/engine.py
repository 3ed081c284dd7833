"""The two engines: SQLite in the state directory, PostgreSQL by URL.

Knows SQLAlchemy and psycopg.  ``Engine.transact`` runs one function in one transaction and says in our own
words what went wrong; everything here blocks, and is called by one thread at a time.

A connection that was lost before the commit began has changed nothing, so the function is run once more on a
new connection.  One that was lost during the commit leaves the outcome unknown, and that is what is said."""

import contextlib
import os
import socket
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

import sqlalchemy as sa
from sqlalchemy import event, exc
from sqlalchemy.engine import URL, make_url

from scsipub.errors import OperatorError
from scsipub.store.errors import Conflict, StoreUnavailable

P = ParamSpec("P")
R = TypeVar("R")

CONNECT_SECONDS = 5
# A peer that vanished without a word is noticed by the kernel after this long.
SILENCE_MS = 10_000
# So many pages in the write-ahead log, and a commit moves them into the database: only if ``checkpoint``,
# which is called long before, did not come.
LATEST_CHECKPOINT = 16_384


def database_url(configured: str | None, state_dir: Path) -> URL:
    """What the operator said, or the file in the state directory.  Raises OperatorError."""
    if configured is None:
        return URL.create("sqlite", database=str(state_dir / "scsipub.db"))
    allowed = "Use postgresql://USER@HOST/NAME, or leave it out for SQLite in the state directory."
    try:
        url = make_url(configured)
    except (exc.ArgumentError, ValueError):
        raise OperatorError("The database's URL cannot be read.", allowed) from None
    backend = url.drivername.partition("+")[0]
    if backend in ("postgresql", "postgres"):
        return url.set(drivername="postgresql+psycopg")
    if backend == "sqlite" and url.database:
        return url.set(drivername="sqlite")
    raise OperatorError(f"{backend} is no database we know.", allowed)


class Engine:
    """One database.  ``shown`` names it without its password."""

    def __init__(self, url: URL) -> None:
        self.url = url
        self.shown = url.render_as_string(hide_password=True)
        self._open: Any = None  # the driver's connection that is in use, for ``sever``
        self._tidying: sqlite3.Connection | None = None
        if url.get_backend_name() == "sqlite":
            self.sa = _sqlite(url)
        else:
            self.sa = _postgresql(url)
        event.listen(self.sa, "checkout", self._checked_out)

    def _checked_out(self, driver: Any, record: Any, proxy: Any) -> None:
        self._open = driver

    def transact(
        self, work: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``work`` in a transaction and commit it.

        Raises what ``work`` raises, after a rollback; StoreUnavailable when the database does not answer."""
        for attempt in (1, 2):
            committing = False
            try:
                with self.sa.connect() as connection, connection.begin() as transaction:
                    result = work(connection, *args, **kwargs)
                    committing = True
                    transaction.commit()
                    return result
            except exc.IntegrityError as error:
                raise Conflict(_constraint(error)) from None
            except exc.DataError:
                raise Conflict("a value does not fit where it is kept") from None
            except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError) as error:
                lost = isinstance(error, exc.DBAPIError) and error.connection_invalidated
                if lost and not committing and attempt == 1:
                    continue  # the pool had a connection of before the database went away
                raise StoreUnavailable(_words(error), unknown=committing) from None
            except exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                raise StoreUnavailable(_words(error), unknown=committing) from None
        raise StoreUnavailable("the connection was lost twice")

    def sever(self) -> None:
        """Cut the connection under a call that has waited too long.  From any thread.

        PostgreSQL only; a thread that waits for its own disk cannot be hurried."""
        pgconn = getattr(self._open, "pgconn", None)
        with contextlib.suppress(Exception):  # it may be closed, or about to be
            if pgconn is not None:
                with socket.socket(fileno=os.dup(pgconn.socket)) as sock:
                    sock.shutdown(socket.SHUT_RDWR)

    def checkpoint(self) -> None:
        """Move what was committed from SQLite's log into its database.  In any thread, one at a time.

        On a connection of its own, so that no commit waits for it: left to itself, every fiftieth or so would
        write hundreds of pages and wait for two more fsyncs.  Raises StoreUnavailable."""
        if self.url.get_backend_name() != "sqlite":
            return
        try:
            if self._tidying is None:
                path = str(self.url.database)
                self._tidying = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
                self._tidying.execute("PRAGMA synchronous=FULL")
            self._tidying.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:
            raise StoreUnavailable(str(error)[:200]) from None

    def close(self) -> None:
        self._open = None
        if self._tidying is not None:
            self._tidying.close()
            self._tidying = None
        self.sa.dispose()


def _sqlite(url: URL) -> sa.Engine:
    path = Path(str(url.database))
    with contextlib.suppress(FileExistsError):
        try:
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600))
        except OSError as error:
            if isinstance(error, FileExistsError):
                raise
            raise OperatorError(f"{path} cannot be made: {error.strerror}.", "Name another.") from None
    engine = sa.create_engine(url, hide_parameters=True, pool_size=1, max_overflow=0, pool_timeout=5)

    def connected(driver: Any, record: Any) -> None:
        driver.isolation_level = None  # we say BEGIN ourselves: the driver's own is late
        cursor = driver.cursor()
        # WAL with FULL: each commit is on the medium when it returns, and costs one fsync.
        for pragma in (
            *("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"),
            f"wal_autocheckpoint={LATEST_CHECKPOINT}",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    def began(connection: sa.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    event.listen(engine, "connect", connected)
    event.listen(engine, "begin", began)
    return engine


def _postgresql(url: URL) -> sa.Engine:
    return sa.create_engine(
        url,
        hide_parameters=True,
        pool_size=1,
        max_overflow=0,
        pool_timeout=5,
        connect_args={
            "connect_timeout": CONNECT_SECONDS,
            "application_name": "scsipub",
            "tcp_user_timeout": SILENCE_MS,
            "keepalives_idle": 5,
            "keepalives_interval": 2,
            "keepalives_count": 3,
            # What is acknowledged is durable, whatever the server's default is.
            "options": "-c synchronous_commit=on -c lock_timeout=5000 -c timezone=UTC",
        },
    )


def _words(error: Exception) -> str:
    """The driver's first line.  Never the statement, never its parameters."""
    said = error.orig if isinstance(error, exc.DBAPIError) else error
    lines = str(said).strip().splitlines()
    return lines[0][:200] if lines else type(said).__name__


def _constraint(error: exc.IntegrityError) -> str:
    """Which rule stood in the way; the driver's own words would quote the value."""
    diagnosis = getattr(error.orig, "diag", None)
    name = getattr(diagnosis, "constraint_name", None)
    if name is None:
        name = _words(error).removeprefix("UNIQUE constraint failed: ")
    return f"that is there already, or something it needs is not ({name})"
