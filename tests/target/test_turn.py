"""The turn: the fast lane leaves the same bytes as the long way, wherever the network cuts the stream."""

import tempfile
from pathlib import Path
from typing import Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import FramingLost
from scsipub.iscsi.outbox import Outbox
from scsipub.iscsi.pdu import NopOut, ReadyToTransfer, ScsiCommand
from scsipub.limits import Limits
from scsipub.storage.base import Base
from scsipub.storage.disk import Disk
from scsipub.storage.layout import OverlayId, OverlayPaths
from scsipub.target.turn import SLOW
from tests.reference.turn import plain_turn
from tests.support.command_strategies import BLOCKS, KEYS, MOSTLY_NOT, OTHERS, odd_commands, small_commands
from tests.support.memory_disk import MemoryDisk
from tests.support.talk import (
    Talk,
    command,
    data_in,
    data_out,
    full_feature,
    good,
    pattern,
    read,
    read_16,
    write,
    write_16,
)

# -- twins ---------------------------------------------------------------------------------------------------


def say(talk: Talk, said: Any, *, corrupt: str = "") -> bool:
    """Say it, and answer whatever is asked.  False: the connection is lost."""
    try:
        talk.initiator(said, corrupt=corrupt)
        while asked := [each for each in talk.heard if isinstance(each, ReadyToTransfer)]:
            talk.heard.clear()
            for each in asked:
                talk.initiator(
                    data_out(
                        each.initiator_task_tag, each.buffer_offset,
                        pattern(each.desired_data_transfer_length, 9), ttt=each.target_transfer_tag,
                    )
                )  # fmt: skip
    except FramingLost:
        return False
    return True


def same(fast: Talk, slow: Talk) -> None:
    """Both have said the same and are in the same state."""
    assert fast.wire == slow.wire
    for name in ("exp_cmd_sn", "stat_sn", "window", "immediate_outstanding", "next_ttt", "closing"):
        assert getattr(fast.session, name) == getattr(slow.session, name)
    assert fast.session.tasks.keys() == slow.session.tasks.keys()
    assert fast.session.discarding == slow.session.discarding
    assert attrs.asdict(fast.session.counters) == attrs.asdict(slow.session.counters)
    assert fast.nexus.writes.buffered == slow.nexus.writes.buffered


@settings(max_examples=150, deadline=None)
@given(
    said=st.lists(st.tuples(small_commands() | odd_commands() | OTHERS, MOSTLY_NOT), min_size=6, max_size=25),
    keys=KEYS,
    settled=st.booleans(),
    cached=st.booleans(),
    block_size=st.sampled_from([512, 4096]),
)
def test_the_fast_lane_and_the_long_way_leave_the_same_bytes(said, keys, settled, cached, block_size):
    """Whatever comes, PDU by PDU: the same answers, numbers, counters and disk."""
    fast = full_feature(blocks=BLOCKS, block_size=block_size, **keys)
    slow = full_feature(blocks=BLOCKS, block_size=block_size, way=plain_turn, **keys)
    for talk in (fast, slow):
        talk.disk.settled, talk.disk.cached = settled, cached

    for each, spoilt in said:
        alive = [say(talk, each, corrupt="data" if spoilt else "") for talk in (fast, slow)]
        assert alive[0] == alive[1]
        same(fast, slow)
        if not alive[0]:
            break

    assert fast.disk.content == slow.disk.content


@settings(max_examples=40, deadline=None)
@given(said=st.lists(small_commands(), min_size=1, max_size=25), keys=KEYS)
def test_the_fast_lane_and_the_long_way_agree_over_real_files(said, keys):
    """The same over a base image and an overlay that comes to be with the first write."""
    with tempfile.TemporaryDirectory() as directory:
        talks = [
            full_feature(blocks=BLOCKS, disk=real_disk(Path(directory) / name), way=way, **keys)
            for name, way in (("slow", plain_turn),)
        ]
        talks.append(full_feature(blocks=BLOCKS, disk=real_disk(Path(directory) / "fast"), **keys))

        for each in said:
            for talk in talks:
                say(talk, each)
            same(*talks)

        contents = [bytearray(BLOCKS * 512) for _ in talks]
        for talk, content in zip(talks, contents, strict=True):
            talk.disk.read(0, BLOCKS, memoryview(content))
            talk.disk.destroy()
            talk.disk.base.close()
        assert contents[0] == contents[1]


def real_disk(directory: Path) -> Disk:
    directory.mkdir()
    image = directory / "base.img"
    image.write_bytes(pattern(BLOCKS * 512 - 700, 77))
    (directory / "disposable").mkdir()
    paths = OverlayPaths(str(directory), OverlayId("d", "session1", 0), boot=bytes(16))
    return Disk(Base.open(image), paths, sectors=BLOCKS)


IN_ORDER = st.sampled_from(
    [
        command(40),
        NopOut(immediate=True, initiator_task_tag=41, data=b"ping"),
        read(46, lba=BLOCKS),
        write(47, lba=BLOCKS - 1, blocks=2, data=pattern(1024)),
        write(48, blocks=1, data=pattern(512), expected_data_transfer_length=1024),
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    said=st.lists(small_commands() | IN_ORDER, max_size=20),
    digests=st.booleans(),
    cuts=st.lists(st.integers(0, 20_000), max_size=12),
)
def test_where_the_network_cuts_the_stream_does_not_matter(said, digests, cuts):
    """TCP promises bytes, not PDUs."""
    keys = {"HeaderDigest": digests, "DataDigest": digests}
    whole, cut, singly = (full_feature(blocks=BLOCKS, **keys) for _ in range(3))
    stream = b"".join(whole.pack(each) for each in said)

    whole.bytes(stream)
    at = 0
    for end in (*sorted(c for c in cuts if c < len(stream)), len(stream)):
        cut.bytes(stream[at:end])
        at = end
    for each in said:
        singly.initiator(each)

    same(whole, cut)
    same(whole, singly)
    assert whole.disk.content == cut.disk.content == singly.disk.content


@pytest.mark.parametrize("digests", ["CRC32C", "None"])
def test_a_header_that_comes_byte_by_byte_is_a_header(digests):
    """48 segments of one byte each."""
    talk = full_feature(HeaderDigest=digests, DataDigest=digests)

    for byte in talk.pack(write(1, data=pattern(512))):
        talk.bytes(bytes([byte]))

    talk.target(good(1))
    assert talk.disk.content[:512] == pattern(512)


KIB = 1024
SMALL_TRANSFERS = {"limits": Limits(max_transfer_bytes=64 * KIB), "unit": {"max_transfer_bytes": 64 * KIB}}
CORNERS: list[tuple[dict[str, Any], list[Any]]] = [
    ({}, [command(1, cmd_sn=2), read(2, cmd_sn=1)]),  # one that waits for its turn
    ({}, [command(1, cmd_sn=2), write(2, cmd_sn=1, data=pattern(512))]),
    ({}, [*(write(tag) for tag in range(32)), read(40)]),  # a closed window
    ({}, [*(write(tag) for tag in range(32)), write(40, data=pattern(512))]),
    ({}, [read(0xFFFFFFFF), write(0xFFFFFFFF, data=pattern(512))]),
    ({}, [read(1, blocks=0), write(1, blocks=0)]),
    ({}, [read(1, lba=BLOCKS, blocks=0), read(1, lba=BLOCKS + 1, blocks=0)]),
    ({"MaxBurstLength": 4096}, [read(1, blocks=16), read(2, blocks=8)]),
    ({"MaxRecvDataSegmentLength": 4096}, [read(1, blocks=16), read(2, blocks=8)]),
    (
        {"FirstBurstLength": 4096},
        [write(1, blocks=8, data=pattern(4096)), write(2, blocks=9, data=pattern(4608))],
    ),
    ({"ImmediateData": False}, [write(1, data=pattern(512))]),
    (SMALL_TRANSFERS, [read(1, blocks=128), read(2, blocks=129)]),
    (SMALL_TRANSFERS, [write(1, blocks=128, data=pattern(65536)), write(2, blocks=129, data=pattern(66048))]),
    # Data that nobody wants any more, a new command of that tag, and data that nobody asked for.
    (
        {"InitialR2T": False},
        [
            write(1, lba=BLOCKS, final=False),
            read(1),
            data_out(1, 0, pattern(512)),
            data_out(1, 0, pattern(512)),
        ],
    ),
    ({}, [attrs.evolve(read(1), data=pattern(4)), attrs.evolve(write(2), data=pattern(256))]),
]


@pytest.mark.parametrize(("agreed", "said"), CORNERS)
@pytest.mark.parametrize("digests", [True, False])
def test_the_two_ways_agree_in_every_corner(agreed, said, digests):
    """Where a check that the fast lane leaves out would show."""
    keys = {"blocks": BLOCKS, "HeaderDigest": digests, "DataDigest": digests, **agreed}
    fast, slow = full_feature(**keys), full_feature(**keys, way=plain_turn)

    for each in said:
        for talk in (fast, slow):
            talk.initiator(each)
        same(fast, slow)

    assert fast.disk.content == slow.disk.content


def test_a_disk_that_was_slow_is_spared_inline_writes_for_a_while():
    """``inline_after``: until then the loop must not wait for it."""
    talk = full_feature()
    talk.held = True
    talk.backings[0].inline_after = 10.0

    talk.now = 9.9
    talk.initiator(write(1, data=pattern(512)))
    talk.target()
    talk.thread()
    talk.target(good(1))
    talk.now = 10.0
    talk.initiator(write(2, data=pattern(512)))
    talk.target(good(2))


# -- what the fast lane must look at -------------------------------------------------------------------------


def takes_it(talk: Talk, said: ScsiCommand) -> bool:
    """Was the command answered without a detour?"""
    seen: list[bytes] = []
    session = talk.session

    class Watched(type(session)):  # type: ignore[misc]
        __slots__ = ()

        def receive(self, view: memoryview, at: int, end: int, now: float) -> int:
            taken = super().receive(view, at, end, now)
            if taken:
                seen.append(bytes(view[at : at + taken]))
            return taken

    session.__class__ = Watched
    talk.initiator(said)
    return not seen


def test_small_reads_and_writes_take_the_fast_lane():
    """The proof that the properties above compare two things and not one with itself."""
    for said in (
        read(1), read(1, blocks=128), write(1, data=pattern(512)), write(1, blocks=128, data=pattern(65536)),
        read(1, cdb=read_16(0, 1)), write(1, cdb=write_16(0, 1), data=pattern(512)),
        read(1, attribute=0), read(1, lun=0x4000 << 48), read(1, blocks=129),
    ):  # fmt: skip
        assert takes_it(full_feature(), said)


@pytest.mark.parametrize(
    "said",
    [
        write(1),
        read(1, lba=1024),
        read(1, attribute=2),
        read(1, immediate=True),
        read(1, cmd_sn=2),
        read(1, lun=1 << 48),
        attrs.evolve(read(1), expected_data_transfer_length=511),
        attrs.evolve(read(1), cdb=bytes.fromhex("28080000000000000100").ljust(16, b"\0")),
        attrs.evolve(read(1), cdb=bytes.fromhex("28000000000001000100").ljust(16, b"\0")),
        attrs.evolve(read(1), cdb=bytes.fromhex("28000000000000000104").ljust(16, b"\0")),
        attrs.evolve(write(1, blocks=129, data=pattern(66048))),
    ],
)  # fmt: skip
def test_everything_else_goes_the_long_way(said):
    assert not takes_it(full_feature(), said)


def test_a_unit_with_something_to_say_is_not_passed_by():
    """SAM-5 §5.14: a unit attention comes before any data."""
    talk = full_feature()
    talk.unit.luns_changed()

    assert not takes_it(talk, read(1))


def test_a_disk_at_work_is_not_passed_by():
    """A write in a thread and a read of the same sectors: the read waits."""
    talk = full_feature()
    talk.held, talk.disk.settled = True, False
    talk.initiator(write(1, data=pattern(512)))

    talk.initiator(read(2))
    talk.target()
    talk.thread()
    talk.thread()

    talk.target(good(1), data_in(2, pattern(512)))


def test_a_session_gets_so_many_pdus_and_then_it_is_somebody_elses_turn():
    """One wake-up handles ``turn_pdus`` and says how far it came."""
    talk = full_feature(limits=Limits(turn_pdus=3))
    stream = b"".join(talk.pack(read(tag)) for tag in range(5))
    view = memoryview(bytearray(stream))

    at = talk.way(talk.nexus, view, 0, len(view), 0.0)

    assert at == 3 * 48


def test_a_turn_stops_when_there_is_enough_to_send():
    """64 reads of 64 KiB would be 4 MiB; the outbox holds two, and half of it is enough."""
    talk = full_feature(limits=Limits(command_window=64))
    stream = b"".join(talk.pack(read(tag, blocks=128)) for tag in range(64))
    view = memoryview(bytearray(stream))

    at = talk.way(talk.nexus, view, 0, len(view), 0.0)

    assert 0 < at < len(view)
    assert talk.worker.out.queued <= 1024 * 1024 + 65536 + 48
    assert talk.worker.out.elsewhere == 0


def test_a_turn_stops_when_it_has_no_room_for_more():
    """While others are about, a wake-up is answered in several turns."""
    talk = full_feature(limits=Limits(command_window=64))
    stream = b"".join(talk.pack(read(tag, blocks=128)) for tag in range(8))
    view = memoryview(bytearray(stream))

    at = talk.way(talk.nexus, view, 0, len(view), 0.0, room=128 * 1024)

    assert at == 2 * 48


def test_after_a_few_that_go_the_slow_way_somebody_looks_at_the_clock():
    """Pings, task management: each may cost as much as ten reads."""
    talk = full_feature()
    ping = talk.pack(NopOut(immediate=True, initiator_task_tag=0xFFFFFFFF))
    view = memoryview(bytearray(ping * (SLOW + 1)))

    at = talk.way(talk.nexus, view, 0, len(view), 0.0)
    assert at == SLOW * 48
    assert talk.way(talk.nexus, view, at, len(view), 0.0) == len(view)


def test_the_smallest_output_that_may_be_configured_still_lets_work_be_done():
    """``session_output_bytes`` of 64 KiB."""
    talk = full_feature(limits=Limits(session_output_bytes=64 * 1024))

    talk.initiator(read(1, blocks=128), read(2, blocks=300))

    assert sum(len(each.data) for each in talk.heard) == 428 * 512


def test_counting_survives_a_lost_connection():
    """What was done before the garbage came was done."""
    talk = full_feature()
    garbage = b"GET / HTTP/1.1\r\n\r\n".ljust(48, b"\xff")

    with pytest.raises(FramingLost):
        talk.bytes(talk.pack(read(1)) + garbage)

    assert talk.session.counters.operations == 1
    assert talk.session.counters.bytes_read == 512


def test_what_was_answered_before_the_garbage_lies_in_the_outbox_and_is_taken_out_whole():
    """After an error one ``take`` leaves nothing behind for the next session."""
    talk = full_feature()
    other = talk.another()
    canary = b"canary of A.....".ljust(512, b"A")
    talk.initiator(write(1, data=canary))

    with pytest.raises(FramingLost):
        talk.bytes(talk.pack(read(2)) + b"\xff" * 48)
    talk.worker.out.take()
    other.initiator(NopOut(immediate=True, initiator_task_tag=1, data=b"x"), command(2))

    assert canary[:8] not in other.wire
    assert len(other.heard) == 2


def test_an_exception_of_ours_leaves_nothing_behind_either():
    """Half an answer in the outbox is taken out with the rest."""
    talk = full_feature()
    other = talk.another()
    talk.disk.content[:512] = b"A" * 512

    def burst(*_: object) -> bool:
        raise ZeroDivisionError

    talk.disk.write_now = burst
    with pytest.raises(ZeroDivisionError):
        talk.initiator(read(1), write(2, data=pattern(512)))
    talk.worker.out.take()
    assert not talk.worker.out.queued
    del talk.disk.write_now
    other.initiator(NopOut(immediate=True, initiator_task_tag=1))

    assert b"AAAA" not in other.wire


def test_a_small_outbox_is_never_overrun():
    """The arena is full: what does not fit is kept beside it, in order."""
    talk = full_feature(MaxRecvDataSegmentLength=262144)
    small = Outbox(192 * 1024)
    talk.worker.out = talk.session.out = small

    talk.initiator(*(read(tag, blocks=128) for tag in range(6)), read(7, blocks=500))

    assert sum(len(each.data) for each in talk.heard) == (6 * 128 + 500) * 512


def test_memory_disk_is_what_these_tests_think_it_is():
    """The dials: not cached means no inline read, not settled no inline write."""
    disk = MemoryDisk(8, cached=False, settled=False)

    assert not disk.read_now(0, 1, memoryview(bytearray(512)))
    assert not disk.write_now(0, bytes(512))
