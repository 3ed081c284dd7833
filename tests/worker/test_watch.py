"""What only time can tell of a session: time comes as an argument, the sockets are real."""

import attrs
import pytest
import trio

from scsipub.iscsi import pdu
from scsipub.limits import DEFAULT
from scsipub.worker import watch as watching
from scsipub.worker.watch import look, relieve, watch, weight
from tests.support.worker_parts import Hung, set_up


async def begun(bench, *, knows_pings=False, **how):
    """A session, and how the worker knows it."""
    peer = await bench.open(**how)
    if knows_pings:
        await peer.ping()
    await bench.until(lambda: bench.control.heard("opened"))
    (live,) = bench.worker.live.values()
    return peer, live


def after(live, seconds):
    return live.connection.nexus.session.last_heard + seconds


async def test_who_never_showed_a_ping_is_never_sent_one(bench):
    """iPXE closes a session whose target sends NOP-In."""
    peer, live = await begun(bench)

    look(bench.worker, live, after(live, 100_000))

    assert await peer.ping(b"mine") == b"mine"  # the first thing that it hears


async def test_who_knows_pings_is_sent_one_after_thirty_seconds_of_silence(bench):
    peer, live = await begun(bench, knows_pings=True)
    look(bench.worker, live, after(live, 30.0))
    assert live.connection.nexus.session.ping_tag is None

    look(bench.worker, live, after(live, 30.1))
    ping = await peer.hear()

    assert isinstance(ping, pdu.NopIn)
    assert (ping.initiator_task_tag, ping.target_transfer_tag) != (0xFFFFFFFF, 0xFFFFFFFF)


async def pinged(bench):
    peer, live = await begun(bench, knows_pings=True)
    now = after(live, 31)
    look(bench.worker, live, now)
    return peer, live, now, await peer.hear()


async def test_a_ping_that_is_answered_is_forgotten(bench):
    peer, live, _, ping = await pinged(bench)

    answer = pdu.NopOut(
        immediate=True, initiator_task_tag=0xFFFFFFFF, target_transfer_tag=ping.target_transfer_tag,
        cmd_sn=peer.cmd_sn, lun=ping.lun, data=b"",
    )  # fmt: skip
    await peer.say(answer)
    await bench.until(lambda: live.connection.nexus.session.ping_tag is None)
    look(bench.worker, live, after(live, 30.0))

    assert await peer.ping() == b"there?"


async def test_a_ping_that_is_not_answered_ends_the_session_thirty_seconds_later(bench):
    peer, live, now, _ = await pinged(bench)

    look(bench.worker, live, now + 30.0)
    assert bench.worker.live
    look(bench.worker, live, now + 30.1)

    assert await peer.hung_up()
    assert live.connection.nexus.session.counters.last_error == "pings went unanswered"


async def test_whoever_talks_is_there_even_without_an_answer(bench):
    peer, live, now, _ = await pinged(bench)
    live.connection.nexus.session.last_heard = now + 20

    look(bench.worker, live, now + 40)

    assert await peer.ping() == b"there?"


async def test_a_peer_that_takes_nothing_for_a_minute_is_dropped(bench):
    peer, live = await begun(bench, buffer=4096)
    for lba in range(0, 2048, 128):
        cdb = b"\x28\0" + lba.to_bytes(4) + b"\0" + (128).to_bytes(2)
        await peer.command(cdb, read=True, expected_data_transfer_length=65536)
    since = await bench.until(lambda: live.connection.stalled_since)

    look(bench.worker, live, since + 60.0)
    assert not bench.control.heard("ended")
    look(bench.worker, live, since + 60.1)
    await bench.until(lambda: bench.control.heard("ended"))

    assert live.connection.nexus.session.counters.last_error == "the initiator took no data"


async def test_a_peer_that_takes_everything_is_not_stalled(bench):
    peer, live = await begun(bench, buffer=4096)
    await peer.read(0, 128)

    await bench.until(lambda: not live.connection.stalled_since)
    look(bench.worker, live, after(live, 1_000_000))

    assert await peer.ping() == b"there?"


async def test_write_data_that_does_not_come_ends_the_command_and_not_the_session(bench):
    """The R2T has a deadline; the memory it stands for is free again."""
    peer, live = await begun(bench)
    cdb = b"\x2a\0" + bytes(5) + (8).to_bytes(2)
    await peer.command(cdb, write=True, expected_data_transfer_length=4096)
    asked = await peer.hear()
    assert isinstance(asked, pdu.ReadyToTransfer)
    (task,) = live.connection.nexus.session.tasks.values()

    look(bench.worker, live, task.deadline)
    assert not task.ended
    look(bench.worker, live, task.deadline + 0.1)
    answer = await peer.hear()

    assert (answer.status, answer.data[2] & 0x7F, answer.data[4] & 15) == (2, 0x70, 0x0B)
    await peer.write(0, b"x" * 512)
    assert await peer.read(0, 1) == b"x" * 512


async def test_rejects_are_told_while_the_session_lives(bench):
    peer, live = await begun(bench)
    for _ in range(3):
        await peer.send(b"\x5f\x80" + bytes(46))
        assert isinstance(await peer.hear(), pdu.Reject)
    assert bench.control.complaints == []

    look(bench.worker, live, after(live, 1))
    look(bench.worker, live, after(live, 2))
    await bench.until(lambda: bench.control.complaints)

    (said,) = bench.control.heard("complaint")
    assert (said["kind"], said["count"]) == ("reject 0x05", 3)


async def test_rejects_of_the_last_second_are_told_at_the_end(bench):
    peer, _ = await begun(bench)
    await peer.send(b"\x5f\x80" + bytes(46))
    await peer.hear()
    peer.sock.close()

    await bench.until(lambda: bench.control.heard("closed"))

    assert bench.control.complaints == ["reject 0x05"]


async def test_a_socket_that_fails_under_a_ping_ends_that_session_and_the_watch_goes_on(
    bench, nursery, autojump_clock
):
    """Once it ended the walk, and with it the worker and everybody in it."""
    autojump_clock.autojump_threshold = 0.02
    one, live = await begun(bench, knows_pings=True)
    other = await bench.open()
    nursery.start_soon(watch, bench.worker)

    class Broken:
        def __getattr__(self, name):
            return getattr(live.connection.sock, name)

        def send(self, data, flags=0):
            raise ConnectionResetError

    live.connection.output.sock = Broken()
    live.connection.nexus.session.last_heard -= 1000
    await trio.sleep(3)

    assert await one.hung_up()
    assert len(bench.worker.live) == 1
    assert await other.ping() == b"there?"
    assert "crash" not in bench.control.complaints


async def test_a_bug_in_the_walk_costs_the_session_that_it_met(bench, nursery, autojump_clock, monkeypatch):
    autojump_clock.autojump_threshold = 0.02
    one, live = await begun(bench)
    other = await bench.open()
    real = look

    def buggy(worker, whom, now):
        if whom is live:
            raise ZeroDivisionError
        real(worker, whom, now)

    monkeypatch.setattr(watching, "look", buggy)
    nursery.start_soon(watch, bench.worker)
    await trio.sleep(3)

    with pytest.raises(Hung):
        await one.hear()
    assert await other.ping() == b"there?"
    assert bench.control.complaints == ["crash"]


async def test_the_watch_walks_once_a_second_over_all(nursery, tmp_path, autojump_clock):
    autojump_clock.autojump_threshold = 0.02
    limits = attrs.evolve(DEFAULT, nop_silence_seconds=1.0)
    bench = await set_up(nursery, tmp_path, limits)
    peers = [await bench.open() for _ in range(5)]
    for peer in peers:
        await peer.ping()
    nursery.start_soon(watch, bench.worker)
    for live in bench.worker.live.values():
        live.connection.nexus.session.last_heard -= 2

    await trio.sleep(1.5)

    for peer in peers:
        assert isinstance(await peer.hear(), pdu.NopIn)


# -- all together --------------------------------------------------------------------------------------------


async def holding(bench, commands):
    """A session whose peer reads nothing of so many answers of 64 KiB."""
    peer = await bench.open(buffer=4096)
    live = list(bench.worker.live.values())[-1]
    for _ in range(commands):
        await peer.command(
            b"\x28\0" + bytes(5) + (128).to_bytes(2), read=True, expected_data_transfer_length=65536
        )
    await bench.until(lambda: weight(live) > (commands - 1) * 65536)
    return peer, live


async def test_of_sessions_that_together_hold_too_much_the_heaviest_ends(nursery, tmp_path):
    """Nobody is over a bound of its own.  The one that holds most goes; who takes its answers stays."""
    bench = await set_up(nursery, tmp_path)
    honest = await bench.open()
    await honest.write(0, b"kept" * 128)
    peers = [await holding(bench, commands) for commands in (2, 5, 3)]
    limits = bench.worker.limits
    total = sum(weight(live) for live in bench.worker.live.values())

    bench.worker.limits = attrs.evolve(limits, worker_held_bytes=total)
    relieve(bench.worker)
    assert len(bench.worker.live) == 4  # exactly as much as may be
    bench.worker.limits = attrs.evolve(limits, worker_held_bytes=total - 1)
    relieve(bench.worker)
    await bench.until(lambda: len(bench.worker.live) == 3)

    assert peers[1][1] not in bench.worker.live.values()
    assert bench.control.complaints == ["memory is short"]
    assert await honest.read(0, 1) == b"kept" * 128


async def test_the_walk_notices_that_too_much_is_held(nursery, tmp_path, autojump_clock):
    autojump_clock.autojump_threshold = 0.02
    bench = await set_up(nursery, tmp_path)
    peer, _ = await holding(bench, 4)
    bench.worker.limits = attrs.evolve(bench.worker.limits, worker_held_bytes=65536)
    nursery.start_soon(watch, bench.worker)

    await bench.until(lambda: bench.control.complaints)

    assert bench.control.complaints == ["memory is short"]
    assert await peer.hung_up()
