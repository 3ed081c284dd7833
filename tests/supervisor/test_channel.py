"""supervisor/channel.py: calls, casts and descriptors between two ends.

Both ends live in this process; the socket between them is real, the time is not."""

import contextlib
import gc
import os
import socket
import struct

import attrs
import pytest
import trio
import trio.testing

from supervisor import wire
from supervisor.channel import CallError, CallTimedOut, Channel, ChannelClosed, Reply, channel_pair


@attrs.frozen
class Two:
    here: Channel
    there: Channel


@contextlib.asynccontextmanager
async def Pair(there=None, here=None, **limits):
    """Two channels that talk to each other."""
    ours, theirs = channel_pair()
    two = Two(Channel(ours, here or {}, **limits), Channel(theirs, there or {}, **limits))
    async with trio.open_nursery() as nursery:
        await nursery.start(two.here.run)
        await nursery.start(two.there.run)
        yield two
        two.here.close()
        two.there.close()


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


async def echo(params, fds):
    return params


async def never(params, fds):
    await trio.sleep_forever()


# ---- calls and casts


async def test_a_call_brings_back_what_the_handler_returned(autojump_clock):
    async with Pair({"echo": echo, "at_once": lambda params, fds: [params]}) as pair:
        assert await pair.here.call("echo", {"a": [1, None, "ü"]}) == {"a": [1, None, "ü"]}
        assert await pair.here.call("at_once", {"b": 2}) == [{"b": 2}]
        assert await pair.here.call("echo") == {}


async def test_both_sides_may_call_even_from_within_a_handler(autojump_clock):
    async with Pair(here={"number": lambda params, fds: 7}) as pair:

        async def ask_back(params, fds):
            return await pair.there.call("number") + 1

        pair.there._handlers = {"ask_back": ask_back}
        assert await pair.here.call("ask_back") == 8


async def test_answers_may_come_in_another_order_than_calls(autojump_clock):
    async def sleepy(params, fds):
        await trio.sleep(params["seconds"])
        return params["seconds"]

    heard = []
    async with Pair({"sleepy": sleepy}) as pair:

        async def ask(seconds):
            heard.append(await pair.here.call("sleepy", {"seconds": seconds}))

        async with trio.open_nursery() as nursery:
            for seconds in (3, 1, 2):
                nursery.start_soon(ask, seconds)

    assert heard == [1, 2, 3]


async def test_plain_handlers_hear_casts_in_order(autojump_clock):
    heard = []
    async with Pair({"note": lambda params, fds: heard.append(params["n"])}) as pair:
        for n in range(100):
            await pair.here.cast("note", {"n": n})
        await pair.here.call("note", {"n": 100})

    assert heard == list(range(101))


async def test_a_cast_that_nobody_understands_hurts_nobody(autojump_clock):
    async with Pair({"echo": echo}) as pair:
        await pair.here.cast("what")
        assert await pair.here.call("echo", {"still": "here"}) == {"still": "here"}
        assert pair.there.statistics().refused == 1


# ---- when it goes wrong


async def test_a_handler_may_say_no(autojump_clock):
    async def no(params, fds):
        raise CallError("not_found", "no such disk", {"name": "x"})

    async with Pair({"no": no}) as pair:
        with pytest.raises(CallError, match="no such disk") as caught:
            await pair.here.call("no")
        assert (caught.value.code, caught.value.data) == ("not_found", {"name": "x"})
        assert str(caught.value) == "not_found: no such disk"
        assert pair.there.statistics().crashed == 0


@pytest.mark.parametrize("kind", ["async", "plain"])
async def test_a_crash_of_a_handler_is_told_and_logged_and_the_channel_lives(autojump_clock, kind, caplog):
    async def crash_later(params, fds):
        raise ZeroDivisionError("oops")

    def crash(params, fds):
        raise ZeroDivisionError("oops")

    async with Pair({"crash": crash_later if kind == "async" else crash, "echo": echo}) as pair:
        with pytest.raises(CallError, match="ZeroDivisionError: oops") as caught:
            await pair.here.call("crash")
        assert caught.value.code == "crashed"
        assert await pair.here.call("echo") == {}
        assert pair.there.statistics().crashed == 1

    assert "the handler of crash crashed" in caplog.text


async def test_an_unknown_method_is_refused(autojump_clock):
    async with Pair() as pair:
        with pytest.raises(CallError) as caught:
            await pair.here.call("what")
        assert caught.value.code == "unknown_method"


async def test_a_result_that_json_cannot_say_is_a_bad_result(autojump_clock):
    async with Pair({"odd": lambda params, fds: object()}) as pair:
        with pytest.raises(CallError) as caught:
            await pair.here.call("odd")
        assert caught.value.code == "bad_result"


async def test_a_call_has_a_time_limit_and_its_late_answer_is_dropped(autojump_clock):
    async def slow(params, fds):
        await trio.sleep(5)
        return "late"

    async with Pair({"slow": slow, "echo": echo}) as pair:
        began = trio.current_time()
        with pytest.raises(CallTimedOut):
            await pair.here.call("slow", timeout=4.9)
        assert trio.current_time() - began == pytest.approx(4.9)
        assert pair.here.statistics().pending == 0
        assert await pair.here.call("slow", timeout=5.1) == "late"
        assert await pair.here.call("echo") == {}


async def test_a_caller_may_wait_without_limit(autojump_clock):
    async def slow(params, fds):
        await trio.sleep(10_000)
        return "at last"

    async with Pair({"slow": slow}) as pair:
        assert await pair.here.call("slow", timeout=None) == "at last"


async def test_callers_hear_that_the_other_side_hung_up(autojump_clock):
    async with Pair({"never": never}) as pair:
        async with trio.open_nursery() as nursery:

            async def ask():
                with pytest.raises(ChannelClosed, match="hung up"):
                    await pair.here.call("never", timeout=None)

            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            pair.there.close()
        with pytest.raises(ChannelClosed):
            await pair.here.call("never")
        with pytest.raises(ChannelClosed):
            await pair.here.cast("never")
        assert pair.here.try_cast("never") is False


async def test_callers_hear_that_we_hung_up(autojump_clock):
    async with Pair({"never": never}) as pair, trio.open_nursery() as nursery:

        async def ask():
            with pytest.raises(ChannelClosed, match="we hung up"):
                await pair.here.call("never", timeout=None)

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        pair.here.close()


async def test_handlers_are_cancelled_when_nobody_is_left_to_hear_them(autojump_clock):
    cancelled = trio.Event()

    async def never(params, fds):
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    async with Pair({"never": never}) as pair:
        await pair.here.cast("never")
        await trio.testing.wait_all_tasks_blocked()
        pair.here.close()
        with trio.fail_after(1):
            await cancelled.wait()


@pytest.mark.parametrize(
    "noise",
    [
        b"\xff\xff\xff\xff",
        struct.pack(">I", 2) + b"[]",
        struct.pack(">I", 26) + b'{"method":"note","fds":1}\n',
    ],
)
async def test_a_bad_frame_ends_the_channel_and_not_the_program(autojump_clock, noise):
    ours, theirs = channel_pair()
    channel = Channel(ours, {})
    theirs.sendall(noise)

    with trio.fail_after(1):
        await channel.run()

    assert channel.closed_because is not None and "bad frame" in channel.closed_because
    theirs.close()


# ---- bounds


async def test_the_handler_after_the_last_that_may_run_waits_and_the_one_after_that_is_refused(
    autojump_clock,
):
    go = trio.Event()
    running = 0

    async def work(params, fds):
        nonlocal running
        running += 1
        await go.wait()
        return "done"

    async with Pair({"work": work, "ping": lambda params, fds: "pong"}, max_running=2, max_waiting=1) as pair:
        answers = []

        async def ask():
            try:
                answers.append(await pair.here.call("work"))
            except CallError as exc:
                answers.append(exc.code)

        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            statistics = pair.there.statistics()
            assert (running, statistics.running, statistics.waiting, statistics.refused) == (2, 2, 1, 1)
            assert answers == ["busy"]
            assert await pair.here.call("ping") == "pong"  # a busy process still answers
            go.set()
        assert answers == ["busy", "done", "done", "done"]
        assert running == 3


async def test_a_slow_reader_makes_senders_wait_and_try_cast_say_no(autojump_clock):
    ours, theirs = channel_pair()
    channel = Channel(ours, {}, max_outbox=10_000)
    async with trio.open_nursery() as nursery:
        await nursery.start(channel.run)
        sent = 0
        while channel.try_cast("note", {"n": sent, "pad": "x" * 1000}):
            sent += 1
        assert channel.statistics().outbox_bytes <= 10_000
        assert channel.statistics().casts_not_sent == 1
        with trio.move_on_after(5) as waiting:
            await channel.cast("note", {"pad": "x" * 1000})
        assert waiting.cancelled_caught

        heard = []
        other = Channel(theirs, {"note": lambda params, fds: heard.append(params["n"])})
        await nursery.start(other.run)
        with trio.fail_after(1):
            await channel.cast("note", {"n": "last"})
            await channel.call("note", {"n": "call"})
        assert heard == [*range(sent), "last", "call"]
        channel.close()


async def test_a_frame_larger_than_the_outbox_goes_when_nothing_else_waits(autojump_clock):
    async with Pair({"echo": echo}, max_outbox=1000) as pair:
        big = "x" * 3_000_000
        assert await pair.here.call("echo", {"big": big}) == {"big": big}
        assert pair.here.statistics().outbox_bytes == 0


async def test_a_sender_who_waits_for_room_hears_that_the_channel_closed(autojump_clock):
    ours, theirs = channel_pair()
    channel = Channel(ours, {}, max_outbox=1000)
    async with trio.open_nursery() as nursery:
        await nursery.start(channel.run)
        while channel.try_cast("note", {"pad": "x" * 900}):
            pass

        async def say():
            with pytest.raises(ChannelClosed):
                await channel.cast("note", {"pad": "x" * 900})

        nursery.start_soon(say)
        await trio.testing.wait_all_tasks_blocked()
        theirs.close()


# ---- descriptors


async def test_descriptors_go_both_ways_and_stay_the_senders(autojump_clock):
    async def swap(params, fds):
        assert os.read(fds[0], 5) == b"hello"
        os.close(fds[0])
        read, write = os.pipe()
        os.write(write, b"world")
        os.close(write)
        return Reply("swapped", [read])

    before = open_descriptors()
    async with Pair({"swap": swap}) as pair:
        read, write = os.pipe()
        os.write(write, b"hello")
        result, fds = await pair.here.call_with_fds("swap", fds=[read])
        assert result == "swapped"
        assert os.read(fds[0], 5) == b"world"
        assert os.get_inheritable(fds[0]) is False
        for fd in (read, write, fds[0]):
            os.close(fd)  # raises if somebody else closed it
    assert open_descriptors() == before


async def test_each_message_gets_its_own_descriptors(autojump_clock):
    """Frames with and without descriptors are mixed in one stream; the count in the frame sorts them out."""
    heard = []

    def note(params, fds):
        heard.append((params["n"], [os.read(fd, 10) for fd in fds]))
        for fd in fds:
            os.close(fd)

    async with Pair({"note": note}) as pair:
        for n in range(50):
            fds = []
            for k in range(n % 3):
                read, write = os.pipe()
                os.write(write, f"{n}.{k}".encode())
                os.close(write)
                fds.append(read)
            await pair.here.cast("note", {"n": n, "pad": "x" * (n * 200)}, fds)
            for fd in fds:
                os.close(fd)
        with trio.fail_after(5):
            while len(heard) < 50:
                await trio.sleep(0.01)

    assert heard == [(n, [f"{n}.{k}".encode() for k in range(n % 3)]) for n in range(50)]


async def test_descriptors_that_wait_in_the_outbox_outlive_the_senders_own(autojump_clock):
    ours, theirs = channel_pair()
    channel = Channel(ours, {}, max_outbox=10**6)
    contents = []

    def take(params, fds):
        contents.append(os.read(fds[0], 10))
        os.close(fds[0])

    before = open_descriptors()
    async with trio.open_nursery() as nursery:
        await nursery.start(channel.run)
        while channel.statistics().outbox_bytes == 0:
            channel.try_cast("pad", {"pad": "x" * 10_000})
        read, write = os.pipe()
        os.write(write, b"kept")
        await channel.cast("take", fds=[read])
        os.close(read)
        os.close(write)
        other = Channel(theirs, {"take": take, "pad": lambda params, fds: None})
        await nursery.start(other.run)
        await channel.call("pad")
        assert contents == [b"kept"]
        channel.close()
    assert open_descriptors() == before - 2


@pytest.mark.parametrize("why", ["unknown", "busy", "gave_up", "plain_call", "outbox"])
async def test_descriptors_that_nobody_takes_are_closed(autojump_clock, why):
    before = open_descriptors()
    null = os.open("/dev/null", os.O_RDONLY)

    async def give(params, fds):
        await trio.sleep(params.get("seconds", 0))
        return Reply("here", [os.dup(null)])

    async with Pair({"give": give, "never": never}, max_running=1, max_waiting=0) as pair:
        if why == "unknown":
            with pytest.raises(CallError):
                await pair.here.call("what", fds=[null])
        elif why == "busy":
            await pair.here.cast("never")
            with pytest.raises(CallError, match="busy"):
                await pair.here.call("never", fds=[null])
        elif why == "gave_up":
            with pytest.raises(CallTimedOut):
                await pair.here.call_with_fds("give", {"seconds": 2}, timeout=1)
            await trio.sleep(2)
        elif why == "plain_call":
            assert await pair.here.call("give") == "here"
        else:
            pair.there.close()
            pair.here.try_cast("what", fds=[null])
    os.close(null)
    gc.collect()
    assert open_descriptors() == before


async def test_a_descriptor_that_is_none_is_the_callers_error_and_the_channel_lives(autojump_clock):
    async with Pair({"echo": echo}) as pair:
        with pytest.raises(OSError):
            await pair.here.call("echo", fds=[99_999])
        assert await pair.here.call("echo", {"a": 1}) == {"a": 1}
        assert pair.here.statistics().pending == 0


async def test_descriptors_lost_on_the_way_fail_their_call_and_no_other(autojump_clock):
    """At the limit of open files the kernel drops descriptors and says MSG_CTRUNC."""
    import resource

    async def count(params, fds):
        for fd in fds:
            os.close(fd)
        return len(fds)

    null = os.open("/dev/null", os.O_RDONLY)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with Pair({"count": count}) as pair:
        assert await pair.here.call("count", fds=[null, null]) == 2
        # the lowest free number is the first that may not be used any more
        free = os.dup(null)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free + 1, limits[1]))
        try:
            with pytest.raises(CallError, match="fds_lost"):
                await pair.here.call("count", fds=[null, null])
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        assert await pair.here.call("count", fds=[null]) == 1
    os.close(null)


async def test_who_wants_to_know_hears_of_a_cast_whose_descriptor_was_lost(autojump_clock):
    """Otherwise the sender counts as given what nobody has."""
    import resource

    null = os.open("/dev/null", os.O_RDONLY)
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    heard, lost = [], []
    async with Pair({"take": lambda params, fds: heard.append(params)}) as pair:
        pair.there.when_lost["take"] = lost.append
        free = os.dup(null)
        os.close(free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (free, limits[1]))
        try:
            await pair.here.cast("take", {"id": "a"}, fds=[null])
            await trio.testing.wait_all_tasks_blocked()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    os.close(null)

    assert (heard, lost) == ([], [{"id": "a"}])


async def test_a_trio_socket_will_do(autojump_clock):
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    here = Channel(trio.socket.from_stdlib_socket(ours))
    there = Channel(theirs, {"echo": echo})
    async with trio.open_nursery() as nursery:
        await nursery.start(here.run)
        await nursery.start(there.run)
        assert await here.call("echo") == {}
        here.close()


async def test_too_many_descriptors_are_refused_before_anything_is_sent(autojump_clock):
    async with Pair({"echo": echo}) as pair:
        with pytest.raises(wire.WireError):
            await pair.here.call("echo", fds=[0] * (wire.MAX_FDS + 1))
        assert await pair.here.call("echo") == {}
