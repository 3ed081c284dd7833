"""supervisor/registry.py: names that vanish with their owners, and Down exactly once."""

import pytest
import trio
import trio.testing

from supervisor.exits import Crashed, Returned, Stopped
from supervisor.registry import Down, NameTaken, NoSuchName, Registry


@pytest.fixture
def registry():
    return Registry()


def test_a_name_lives_as_long_as_its_owners_block(registry):
    with registry.hold("disk", 7):
        assert registry.find("disk") == 7
        assert "disk" in registry
        assert registry.names() == ["disk"]
    with pytest.raises(NoSuchName):
        registry.find("disk")
    assert "disk" not in registry


def test_a_name_has_one_owner(registry):
    with registry.hold("disk", 7), pytest.raises(NameTaken), registry.hold("disk", 8):
        pass
    with registry.hold("disk", 9):
        assert registry.find("disk") == 9


def test_a_crash_frees_the_name_and_goes_on(registry):
    heard = []
    error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError), registry.hold("disk", 7):
        registry.monitor("disk", heard.append)
        raise error
    assert heard == [Down("disk", Crashed(error))]
    assert registry.names() == []


def test_every_monitor_hears_exactly_once_in_the_order_of_asking(registry):
    heard = []
    with registry.hold("disk", 7):
        for n in range(3):
            registry.monitor("disk", lambda down, n=n: heard.append((n, down)))
        assert registry.statistics().monitors == 3
    with registry.hold("disk", 8):
        pass
    assert heard == [(n, Down("disk", Returned())) for n in range(3)]


def test_when_a_monitor_hears_the_name_is_free(registry):
    heard = []
    with registry.hold("disk", 7):
        registry.monitor("disk", lambda down: heard.append("disk" in registry))
    assert heard == [False]


def test_who_watches_nobody_hears_at_once(registry):
    heard = []
    registry.monitor("disk", heard.append)
    assert heard == [Down("disk", None)]


def test_a_monitor_belongs_to_one_owner_not_to_the_name(registry):
    heard = []
    with registry.hold("disk", 7):
        pass
    with registry.hold("disk", 8):
        registry.monitor("disk", heard.append)
        assert heard == []
    assert len(heard) == 1


def test_a_cancelled_monitor_hears_nothing(registry):
    heard = []
    with registry.hold("disk", 7):
        monitor = registry.monitor("disk", heard.append)
        monitor.cancel()
        monitor.cancel()
        assert registry.statistics().monitors == 0
    monitor.cancel()
    assert heard == []


def test_a_listener_that_fails_does_not_rob_the_others_of_the_news(registry):
    heard = []
    with pytest.raises(ZeroDivisionError), registry.hold("disk", 7):
        registry.monitor("disk", heard.append)
        registry.monitor("disk", lambda down: 1 / 0)
        registry.monitor("disk", heard.append)
    assert len(heard) == 2


async def test_a_watcher_waits_for_the_end(registry, nursery, autojump_clock):
    async def own():
        with registry.hold("disk", 7):
            await trio.sleep(5)

    nursery.start_soon(own)
    await trio.testing.wait_all_tasks_blocked()
    monitor = registry.monitor("disk")
    assert await monitor.wait() == Down("disk", Returned())
    assert trio.current_time() == 5
    assert await monitor.wait() == Down("disk", Returned())  # it was heard once; asking again tells the same


async def test_a_cancelled_owner_was_stopped(registry, nursery, autojump_clock):
    scope = trio.CancelScope()

    async def own():
        with scope, registry.hold("disk", 7):
            await trio.sleep_forever()

    nursery.start_soon(own)
    await trio.testing.wait_all_tasks_blocked()
    monitor = registry.monitor("disk")
    scope.cancel()
    assert (await monitor.wait()).reason == Stopped()
