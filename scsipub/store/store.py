"""The store as the rest of control sees it: one actor, one thread, one transaction at a time.

    store = Store(open_store(config.database, config.state_dir, instance))
    ... ChildSpec("store", store.run)
    target = await store.call(targets.get, id)        # any function of this room that takes a connection

A database that goes away gives StoreUnavailable, at once while it is known to be away, and comes back by
itself: one call every now and then is let through to see, further and further apart, and somebody looks even
when nobody calls.

Knows trio.  SQLAlchemy waits in a thread; psycopg's own waiting is for asyncio only."""

import logging
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, sleep
from typing import Any, Concatenate, ParamSpec, TypeVar

import attrs
import outcome
import sqlalchemy as sa
import trio

from scsipub.errors import OperatorError
from scsipub.store import accounts, journal, schema
from scsipub.store.engine import Engine, database_url
from scsipub.store.errors import Conflict, StoreUnavailable
from scsipub.store.migrate import HEAD, migrate
from scsipub.store.vault import Vault
from supervisor.actor import Actor, ActorDied

P = ParamSpec("P")
R = TypeVar("R")

log = logging.getLogger("scsipub.store")

# Longer than any transaction of ours takes on a slow disk; shorter than an initiator waits for its login.
CALL_SECONDS = 8.0
# How long to wait before looking again, from the first time on.
BACK_OFF = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# How many of them between two checkpoints of SQLite: about a thousand pages of its log, when all write.
CHECKPOINT_CALLS = 128
# A database server that starts with the machine may be later than we are.
START_SECONDS = 10.0


@attrs.frozen
class StoreStatistics:
    """How the store is."""

    available: bool
    calls: int
    failures: int  # calls that met StoreUnavailable
    outages: int
    waiting: int
    database: str


@attrs.frozen
class Opened:
    """A database that is ready, and the keys to its secrets."""

    engine: Engine
    vault: Vault


def open_store(
    database: str | None,
    state_dir: Path,
    instance: bytes,
    random: Callable[[int], bytes] = os.urandom,
    patience: float = START_SECONDS,
) -> Opened:
    """Connect, bring the tables up to date, and read the keys.  Blocks.  Raises OperatorError."""
    engine = Engine(database_url(database, state_dir))
    try:
        _migrate_patiently(engine, patience)
        engine.transact(_claim, instance.hex()[:64])
        engine.transact(journal.forget_unfinished)
        vault = _vault(engine, state_dir / "keys", random)
    except BaseException:
        engine.close()
        raise
    return Opened(engine, vault)


def _migrate_patiently(engine: Engine, patience: float) -> None:
    until = monotonic() + patience
    while True:
        try:
            before = migrate(engine)
        except StoreUnavailable as away:
            if monotonic() >= until:
                raise OperatorError(
                    f"The database {engine.shown} does not answer: {away.why}.",
                    "See whether it runs, and whether the URL, the user and the password are right.",
                ) from None
            sleep(0.5)
        else:
            if before is not None and before != HEAD:
                log.info("the database was of version %s, and is up to date now", before)
            return


def _claim(connection: sa.Connection, instance: str) -> None:
    """A database belongs to one state directory: the disks that its rows speak of lie there."""
    found = connection.execute(sa.select(schema.installation.c.instance)).scalar_one_or_none()
    if found is None:
        connection.execute(schema.installation.insert().values(id=1, instance=instance))
    elif found != instance:
        raise OperatorError(
            "The database belongs to another state directory, whose disks it describes.",
            "Name that one with --state-dir, or another database with --database.",
        )


def _vault(engine: Engine, directory: Path, random: Callable[[int], bytes]) -> Vault:
    needed = engine.transact(accounts.key_ids)
    vault = Vault.open(directory, random)
    missing = needed - (vault.key_ids if vault is not None else frozenset())
    if missing:
        # A new key would open nothing, and look as if all were well until the first login.
        raise OperatorError(
            f"The database has secrets under a key that is not in {directory}.",
            "Restore the folder from a backup; without it the CHAP secrets are lost.",
        )
    return Vault.create(directory, random) if vault is None else vault


class _Desk:
    """The state of the actor: the engine, and the one thread at it."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.thread = trio.CapacityLimiter(1)

    async def transact(self, work: Callable[[], R]) -> "outcome.Outcome[R]":
        """Nothing that ``work`` raises ends the actor: it is the caller's."""
        return await trio.to_thread.run_sync(outcome.capture, work, limiter=self.thread)


class Store:
    """See the module.  Lives as long as the daemon; its actor may be restarted under it."""

    def __init__(self, opened: Opened) -> None:
        self.engine = opened.engine
        self.vault = opened.vault
        self._actor = Actor(lambda: _Desk(self.engine), name="store")
        self._written = trio.Event()  # set when it is time for a checkpoint; made anew with each
        self._back = trio.Event()  # set by who is waiting to look; made anew with each outage
        self._away: StoreUnavailable | None = None
        self._look_at = 0.0  # not before, monotonic
        self._tried = 0  # times, since it went away
        self._calls = self._failures = self._outages = 0

    @property
    def available(self) -> bool:
        return self._away is None

    def statistics(self) -> StoreStatistics:
        return StoreStatistics(
            self.available,
            self._calls,
            self._failures,
            self._outages,
            self._actor.statistics().mailbox,
            self.engine.shown,
        )

    async def call(
        self, work: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        """Run ``work`` in a transaction of its own; what it returns is durable.

        Raises StoreUnavailable, and whatever ``work`` raises."""
        self._calls += 1
        if self._calls % CHECKPOINT_CALLS == 0:
            self._written.set()
        if self._away is not None and trio.current_time() < self._look_at:
            self._failures += 1
            raise StoreUnavailable(self._away.why)
        try:
            result = await self._transact(work, *args, **kwargs)
        except StoreUnavailable as away:
            self._failures += 1
            self._gone(away)
            raise
        self._came_back()
        return result

    async def _transact(
        self, work: Callable[Concatenate[sa.Connection, P], R], *args: P.args, **kwargs: P.kwargs
    ) -> R:
        def transaction() -> R:
            return self.engine.transact(work, *args, **kwargs)

        with trio.move_on_after(CALL_SECONDS):
            try:
                answer: outcome.Outcome[R] = await self._actor.call(_Desk.transact, transaction)
            except ActorDied:
                raise StoreUnavailable("the store is being restarted", unknown=True) from None
            return answer.unwrap()
        # The thread may be waiting for a server that will never answer; it must not keep the next ones.
        self.engine.sever()
        raise StoreUnavailable(f"no answer within {CALL_SECONDS:g} s", unknown=True)

    # -- away and back -----------------------------------------------------------------------------------

    def _gone(self, away: StoreUnavailable) -> None:
        if self._away is None:
            self._outages += 1
            self._tried = 0
            log.error("the database does not answer: %s", away.why)
            self._back.set()
        self._away = away
        self._look_at = trio.current_time() + BACK_OFF[min(self._tried, len(BACK_OFF) - 1)]
        self._tried += 1

    def _came_back(self) -> None:
        if self._away is not None:
            log.warning("the database answers again, after %d attempts", self._tried)
            self._away = None

    async def _watch(self) -> None:
        """Look even if nobody calls."""
        while True:
            await self._back.wait()
            self._back = trio.Event()
            while self._away is not None:
                await trio.sleep_until(self._look_at)
                try:
                    await self.call(_look)
                except StoreUnavailable:
                    continue

    async def _tidy(self) -> None:
        """Checkpoints, beside the calls and in nobody's way."""
        while True:
            await self._written.wait()
            self._written = trio.Event()
            try:
                await trio.to_thread.run_sync(self.engine.checkpoint)
            except StoreUnavailable as away:
                log.warning("the database's log is not tidied: %s", away.why)

    async def run(self, task_status: "trio.TaskStatus[None]" = trio.TASK_STATUS_IGNORED) -> None:
        """Until asked to stop; what was asked before that is answered first."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._tidy)
            await nursery.start(self._run_actor, nursery.cancel_scope)
            task_status.started()

    async def _run_actor(
        self, scope: trio.CancelScope, task_status: "trio.TaskStatus[Any]" = trio.TASK_STATUS_IGNORED
    ) -> None:
        await self._actor.run(task_status)
        scope.cancel()


def _look(connection: sa.Connection) -> None:
    connection.execute(sa.select(1))


async def _nothing() -> None: ...


async def rotate_keys(store: Store, reload: Callable[[], Awaitable[None]] = _nothing) -> int:
    """Seal every secret with a new key, and remove the old ones; how many secrets.

    ``reload`` is for who keeps sealed secrets in memory: it runs while both keys still open.  A kill at any
    point leaves keys for all that is sealed."""
    await trio.to_thread.run_sync(store.vault.rotate)
    done = await store.call(accounts.reseal, store.vault)
    await reload()
    if await store.call(accounts.key_ids) - {store.vault.current.id}:
        raise Conflict("some secrets are still under another key")
    await trio.to_thread.run_sync(store.vault.forget_others)
    return done
