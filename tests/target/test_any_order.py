"""Any order: whatever initiators and threads do, in the end nothing is left over and nobody hears a stranger.

Two sessions of one target say anything at any time; threads end when they like.  Talk holds every answer
against the rules; here is what must hold when the dust has settled."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import FramingLost
from scsipub.iscsi.pdu import NopOut, ReadyToTransfer, TaskManagementRequest
from scsipub.limits import Limits
from tests.support.talk import Talk, cdb, command, data_out, full_feature, pattern, read, write

TAGS = st.integers(1, 6)
LBAS = st.integers(0, 24)
BLOCKS = st.sampled_from([1, 8, 16])
ATTRIBUTES = st.sampled_from([1, 1, 1, 1, 2, 3])
LUNS = st.sampled_from([0, 0, 0, 1 << 48])
UNMAP = cdb("42000000000000001800")
COMPARE_AND_WRITE = cdb("89000000000000000000000000010000")
SANITIZE = cdb("4802")  # BLOCK ERASE, and the answer when it is done
MIB = 1024 * 1024


def extent(lba: int, blocks: int) -> bytes:
    """An UNMAP parameter list of one extent."""
    return bytes.fromhex("0016001000000000") + lba.to_bytes(8) + blocks.to_bytes(4) + bytes(4)


@st.composite
def requests(draw: st.DrawFn) -> Any:
    tag, lba, blocks = draw(TAGS), draw(LBAS), draw(BLOCKS)
    common = {"attribute": draw(ATTRIBUTES), "lun": draw(LUNS), "immediate": draw(st.integers(0, 9)) == 0}
    functions = TaskManagementRequest(
        immediate=True, function=draw(st.sampled_from([1, 1, 1, 2, 4, 5, 6])), initiator_task_tag=99,
        referenced_task_tag=tag, ref_cmd_sn=0x40000000, lun=common["lun"],
    )  # fmt: skip
    kind = draw(st.integers(0, 11))
    if kind < 2:
        return read(tag, lba, blocks, **common)
    if kind == 2:
        return read(tag, 0, 700, **common)
    if kind < 7:
        size = blocks * 512
        now = draw(st.sampled_from([0, 100, 512, size]))
        return write(tag, lba, blocks, pattern(min(now, size), tag),
                     **common, final=draw(st.booleans()))  # fmt: skip
    if kind == 7:
        return command(tag, UNMAP, write=True, expected_data_transfer_length=24, data=extent(lba, blocks),
                       **common)  # fmt: skip
    if kind == 8:
        return command(tag, COMPARE_AND_WRITE, write=True, expected_data_transfer_length=1024, **common)
    if kind == 9:
        return command(tag, draw(st.sampled_from([cdb("35"), SANITIZE, cdb("00")])), **common)
    if kind == 10:
        return functions
    return NopOut(immediate=True, initiator_task_tag=98, data=b"ping")


MOVES = st.one_of(
    st.tuples(st.just("say"), requests()),
    st.tuples(st.just("say"), requests()),
    st.tuples(st.just("data"), st.sampled_from(["all", "half", "wrong"])),
    st.tuples(st.just("thread"), st.integers(0, 3)),
    st.tuples(st.just("background"), st.none()),
    st.tuples(st.just("slow"), st.booleans()),
    st.tuples(st.just("stuck"), st.booleans()),
    st.tuples(st.just("fail"), st.sampled_from([5, 28])),
)


def answer(talk: Talk, how: str) -> None:
    """Send what the oldest R2T asks for, or only half of it, or too much."""
    asked = [each for each in talk.heard if isinstance(each, ReadyToTransfer)]
    if not asked:
        return
    r2t = asked[0]
    talk.heard.remove(r2t)
    length, tag, ttt = r2t.desired_data_transfer_length, r2t.initiator_task_tag, r2t.target_transfer_tag
    data = pattern(length + 512, tag)
    if how == "half" and length > 1:
        half = length // 2
        talk.initiator(data_out(tag, r2t.buffer_offset, data[:half], ttt=ttt, final=False))
        talk.initiator(data_out(tag, r2t.buffer_offset + half, data[half:length], ttt=ttt, data_sn=1))
    else:
        size = length if how != "wrong" else length + 512
        talk.initiator(data_out(tag, r2t.buffer_offset, data[:size], ttt=ttt))


def move(talk: Talk, what: str, how: Any) -> None:
    if what == "say":
        talk.initiator(how)
    elif what == "data":
        answer(talk, how)
    elif what == "thread" and talk.threads:
        talk.threads.insert(0, talk.threads.pop(how % len(talk.threads)))
        talk.thread()
    elif what == "background":
        talk.background()
    elif what == "slow":
        talk.disk.settled = talk.disk.cached = not how
    elif what == "stuck":
        talk.stuck, talk.unsent = how, 0
        talk.settle()
    elif what == "fail":
        talk.disk.next_errors.append(how)


def quiet_down(talks: list[Talk]) -> None:
    """Threads and background work come to their ends."""
    for _ in range(1000):
        busy = False
        for talk in talks:
            talk.stuck, talk.unsent = False, 0
            talk.settle()
            if talk.threads:
                talk.thread()
                busy = True
            if talk.nexus.backgrounds:
                talk.background()
                busy = True
        if not busy:
            return
    raise AssertionError("it never ends")


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.booleans(), MOVES), max_size=40), st.booleans(), st.booleans())
def test_in_the_end_nothing_is_left_over(moves, initial_r2t, some_leave):
    """No memory, range of sectors or tag stays behind; no exception; nobody hears another's answers."""
    limits = Limits(session_write_bytes=MIB, r2t_bytes=4096)
    one = full_feature(luns=(0, 1), InitialR2T=initial_r2t, limits=limits, MaxBurstLength=4096)
    talks = [one, one.another()]
    for talk in talks:
        talk.held = True
    lost: set[int] = set()

    for second, (what, how) in moves:
        if second in lost:
            continue
        try:
            move(talks[second], what, how)
        except FramingLost:
            one.worker.out.take()
            talks[second].nexus.close()
            lost.add(second)
    if some_leave:
        talks[1].nexus.close()
        lost.add(True)
    quiet_down(talks)
    for number, talk in enumerate(talks):
        if number not in lost:
            # Whoever still waits for data gives up.
            for task in list(talk.session.tasks.values()):
                talk.nexus.abort(task, lambda: None)
            talk.do(talk.nexus.settle)
    quiet_down(talks)

    assert all(backing.quiet for backing in one.backings.values())
    for talk in talks:
        nexus, session = talk.nexus, talk.session
        assert not session.tasks
        assert session.window == limits.command_window
        assert session.immediate_outstanding == 0
        assert nexus.writes.buffered == 0
        assert nexus.streams.in_threads == 0
        assert not nexus.streams.queue and not nexus.streams.threaded
        assert not nexus.dying and not nexus.posted and not nexus.jobs
        assert all(task.ended for task in (*nexus.order.waiting, *nexus.order.barriers))
