"""The actor: one transaction after another, and a database that goes away and comes back."""

from time import perf_counter

import pytest
import sqlalchemy as sa
import trio

from scsipub.errors import OperatorError
from scsipub.store import accounts, journal, targets, tenants
from scsipub.store import store as room
from scsipub.store.engine import Engine, database_url
from scsipub.store.errors import NotFound, StoreUnavailable
from scsipub.store.records import Account
from scsipub.store.store import CHECKPOINT_CALLS, Opened, Store, open_store, rotate_keys
from scsipub.store.vault import Vault
from scsipub.tiers import Tier
from tests.store.conftest import NOW
from tests.support.rented import rented

SMALL = Tier(name="small", allocation_budget=1 << 30, persistent=True)


@pytest.fixture
async def store(opened, nursery):
    store = Store(opened)
    await nursery.start(store.run)
    return store


@pytest.fixture
async def far(postgres, vault, nursery):
    """A store whose database can be killed."""
    engine = Engine(database_url(postgres.url("ours"), None))
    engine.transact(lambda c: c.execute(sa.text("TRUNCATE events")))
    store = Store(Opened(engine, vault))
    await nursery.start(store.run)
    yield store
    engine.close()


def look(connection):
    return connection.execute(sa.select(1)).scalar()


async def back(store) -> None:
    with trio.fail_after(15):
        while not store.available:
            await trio.sleep(0.02)


async def test_a_call_returns_what_the_function_returns(store):
    await store.call(tenants.put_tier, SMALL)

    assert await store.call(tenants.tier, "small") == SMALL
    assert store.statistics().calls == 2


async def test_what_a_function_raises_is_its_callers(store):
    with pytest.raises(NotFound):
        await store.call(tenants.tier, "gold")
    with pytest.raises(ZeroDivisionError):
        await store.call(lambda connection: 1 // 0)

    assert store.available
    assert await store.call(look) == 1


async def test_calls_of_many_tasks_follow_one_another(store):
    running = []

    def alone(connection):
        running.append(1)
        assert len(running) == 1
        running.pop()

    async with trio.open_nursery() as nursery:
        for _ in range(50):
            nursery.start_soon(store.call, alone)

    assert store.statistics().calls == 50


async def test_the_log_is_moved_into_the_database_now_and_then_and_never_by_a_call(store, monkeypatch):
    moved = trio.Event()
    token = trio.lowlevel.current_trio_token()
    monkeypatch.setattr(store.engine, "checkpoint", lambda: token.run_sync_soon(moved.set))
    for _ in range(CHECKPOINT_CALLS - 1):
        await store.call(look)
    assert not moved.is_set()

    await store.call(look)

    await moved.wait()


async def test_a_store_that_was_stopped_says_so(opened, nursery):
    with pytest.raises(StoreUnavailable, match="restarted"):
        await Store(opened).call(look)


async def test_a_database_that_is_killed_comes_back_by_itself(postgres, far):
    await far.call(journal.note, "a", "before", NOW)
    postgres.kill()
    try:
        with pytest.raises(StoreUnavailable):
            await far.call(look)
        began = perf_counter()
        for _ in range(100):
            with pytest.raises(StoreUnavailable):
                await far.call(look)
        # Most of the hundred did not go and look.
        assert perf_counter() - began < 2
        assert not far.available
    finally:
        await trio.to_thread.run_sync(postgres.start)

    await back(far)

    assert (await far.call(journal.events)).items[0].text == "before"
    assert far.statistics().outages == 1


async def test_a_database_that_hangs_is_given_up_and_does_not_keep_the_next_callers(
    postgres, far, monkeypatch
):
    monkeypatch.setattr(room, "CALL_SECONDS", 0.5)
    await far.call(look)
    postgres.pause()
    try:
        with trio.fail_after(5), pytest.raises(StoreUnavailable) as away:
            await far.call(journal.note, "a", "b", NOW)
        assert away.value.unknown
    finally:
        postgres.go_on()

    await back(far)

    assert len((await far.call(journal.events)).items) in (0, 1)


async def test_after_a_restart_nobody_has_noticed(postgres, far):
    await far.call(look)
    await trio.to_thread.run_sync(postgres.kill)
    await trio.to_thread.run_sync(postgres.start)

    assert await far.call(look) == 1
    assert far.statistics().failures == 0


async def test_keys_are_changed_under_a_running_store(store, vault):
    ids = vault.random
    await store.call(tenants.put_tier, SMALL)
    tenant = await store.call(tenants.create_tenant, "ada", "small", NOW, ids)
    target = rented(tenant.id, NOW, ids)
    await store.call(targets.create, target)
    await store.call(accounts.put, vault, target.id, Account(user="ada", secret="s" * 16))

    assert await rotate_keys(store) == 1

    again = Vault.open(vault.directory)
    assert again is not None
    assert len(again.key_ids) == 1
    assert (await store.call(accounts.of_target, again, target.id))[0].secret == "s" * 16


# -- the start -----------------------------------------------------------------------------------------------


def begin(url, path, instance=b"i" * 32):
    return open_store(url, path, instance, patience=0.0)


def test_the_first_start_makes_tables_and_a_key_and_the_next_finds_them(url, tmp_path):
    first = begin(url, tmp_path)
    first.engine.close()

    second = begin(url, tmp_path)

    assert second.vault.key_ids == first.vault.key_ids
    second.engine.close()


def test_a_database_of_another_state_directory_is_refused(url, tmp_path):
    begin(url, tmp_path).engine.close()

    with pytest.raises(OperatorError, match="another state directory"):
        begin(url, tmp_path, b"j" * 32)


def test_a_lost_key_is_not_replaced_while_secrets_lie_under_it(url, tmp_path):
    opened = begin(url, tmp_path)
    ids, do = opened.vault.random, opened.engine.transact
    do(tenants.put_tier, SMALL)
    tenant = do(tenants.create_tenant, "ada", "small", NOW, ids)
    target = rented(tenant.id, NOW, ids)
    do(targets.create, target)
    do(accounts.put, opened.vault, target.id, Account(user="ada", secret="s" * 16))
    opened.engine.close()
    (tmp_path / "keys" / "1.key").unlink()

    with pytest.raises(OperatorError, match="backup"):
        begin(url, tmp_path)


def test_a_key_that_nothing_needs_may_be_lost(url, tmp_path):
    begin(url, tmp_path).engine.close()
    (tmp_path / "keys" / "1.key").unlink()

    begin(url, tmp_path).engine.close()

    assert (tmp_path / "keys" / "1.key").exists()


def test_a_database_that_is_not_there_is_said_in_plain_words(tmp_path):
    with pytest.raises(OperatorError, match="does not answer") as refused:
        begin(f"postgresql://u:canary@/n?host={tmp_path}", tmp_path)

    assert "canary" not in str(refused.value)


def test_what_was_being_answered_at_the_last_end_is_forgotten(url, tmp_path):
    opened = begin(url, tmp_path)
    opened.engine.transact(journal.begin, opened.vault, "ada", "k", "r", NOW)
    opened.engine.close()

    opened = begin(url, tmp_path)

    assert opened.engine.transact(journal.begin, opened.vault, "ada", "k", "r", NOW) is None
    opened.engine.close()
