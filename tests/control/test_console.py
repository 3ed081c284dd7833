"""What the operator's commands ask: the real socket, workers that answer from a table."""

import errno
import io
import stat
from types import SimpleNamespace

import pytest
import trio

from supervisor.channel import CallError, Channel

STATISTICS = {
    "tasks": 9,
    "sessions": 2,
    "connections": 3,
    "bytes_read": 100,
    "bytes_written": 10,
    "operations": 7,
    "times": [],
}


@pytest.fixture
async def operator(house, nursery):
    """An open channel to the console."""
    await nursery.start(house.control.console.run)
    return await connect(house, nursery)


async def connect(house, nursery):
    line = trio.socket.socket(trio.socket.AF_UNIX)
    await line.connect(str(house.control.config.control_socket))
    channel = Channel(line)
    await nursery.start(channel.run)
    return channel


async def test_nobody_else_may_open_the_socket(house, operator):
    mode = house.control.config.control_socket.stat().st_mode

    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


async def test_a_socket_that_a_killed_daemon_left_is_replaced(house, nursery):
    house.control.config.control_socket.write_bytes(b"")

    await nursery.start(house.control.console.run)

    assert await (await connect(house, nursery)).call("session.list") is not None


async def test_status_sums_up_what_the_workers_say(house, operator):
    for worker in house.workers:
        worker.answers["statistics"] = STATISTICS

    said = await operator.call("status")

    assert (said["sessions"], said["tasks"]["worker"]) == (4, 18)
    assert said["counters"]["operations"] == 14
    assert [w["sessions"] for w in said["workers"]] == [2, 2]
    assert said["state_dir"] == str(house.control.config.state_dir)


async def test_totals_never_fall_when_a_worker_dies(house, operator):
    """A counter that goes down looks like a restart of the daemon to whoever draws it."""
    for worker in house.workers:
        worker.answers["statistics"] = STATISTICS
    await operator.call("status")

    await house.dies(0)
    said = await operator.call("status")

    assert said["counters"]["bytes_read"] == 200
    assert said["sessions"] == 2


async def test_a_worker_that_does_not_answer_is_waited_for_for_two_seconds(house, operator, autojump_clock):
    async def never(params, fds):
        await trio.sleep_forever()

    house.workers[0].there._handlers["statistics"] = never
    house.workers[1].answers["statistics"] = STATISTICS
    began = trio.current_time()

    said = await operator.call("status")

    assert said["sessions"] == 2
    assert trio.current_time() - began == pytest.approx(2.0, abs=0.1)


async def test_mistakes_are_counted_by_kind(house, operator):
    for worker in house.workers:
        worker.answers["statistics"] = STATISTICS
    house.control.complaints.complain("header digest", "192.0.2.1", 0.0, count=3)

    said = await operator.call("status")

    assert said["counters"]["malformed"] == {"header digest": 3}


async def test_sessions_are_listed_with_the_worker_they_live_in(house, operator):
    house.workers[0].answers["sessions"] = [{"id": "a"}]
    house.workers[1].answers["sessions"] = [{"id": "b"}, {"id": "c"}]

    assert await operator.call("session.list") == [
        {"worker": 0, "id": "a"},
        {"worker": 1, "id": "b"},
        {"worker": 1, "id": "c"},
    ]


async def test_a_session_is_kicked_wherever_it_lives(house, operator):
    house.workers[0].answers["kick"] = False
    house.workers[1].answers["kick"] = True

    assert await operator.call("session.kick", {"id": "b"}) == {"kicked": "b"}
    assert house.workers[1].asked == [("kick", {"id": "b"})]


async def test_a_session_that_is_not_there_cannot_be_kicked(house, operator):
    for worker in house.workers:
        worker.answers["kick"] = False

    with pytest.raises(CallError) as refused:
        await operator.call("session.kick", {"id": "b"})

    assert refused.value.code == "not_found"
    assert "no session b" in refused.value.message


async def test_images_appear_when_they_are_adopted_and_go_when_they_are_removed(house, operator):
    house.control.catalogue.store.add(io.BytesIO(b"x" * 512), "new")

    assert await operator.call("image.adopt", {"name": "new"}) is True
    assert await operator.call("image.adopt", {"name": "other"}) is False
    assert [image["name"] for image in await operator.call("image.list")] == ["new"]
    assert (await operator.call("image.remove", {"name": "new"}))["name"] == "new"
    assert house.control.catalogue.images == {}


async def test_an_image_that_is_not_there_cannot_be_removed(house, operator):
    with pytest.raises(CallError) as refused:
        await operator.call("image.remove", {"name": "nosuch"})

    assert refused.value.code == "refused"


async def test_a_sweep_says_what_it_did(house, operator):
    assert await operator.call("janitor.run") == {"swept": [], "kept": 0, "doubts": []}


async def test_without_descriptors_the_console_waits_and_goes_on(house, nursery, monkeypatch):
    """One that ended would be started again until its budget is spent, and with it the daemon."""
    real = trio._socket._SocketType.accept
    failures = iter([OSError(errno.EMFILE, "too many open files")] * 3)

    async def accept(self):
        for failure in failures:
            raise failure
        return await real(self)

    monkeypatch.setattr("trio._socket._SocketType.accept", accept)
    await nursery.start(house.control.console.run)

    with trio.fail_after(5):
        assert await (await connect(house, nursery)).call("janitor.run")


async def test_a_restart_replaces_every_worker_and_counts_those_that_came(house, operator):
    pool = house.control.pool

    async def rolling_restart():
        pool.workers[0] = SimpleNamespace(index=0, incarnation=9)

    pool.rolling_restart = rolling_restart

    assert await operator.call("worker.restart") == {"restarted": 1, "workers": 2}
