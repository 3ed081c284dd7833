"""Long reads: produced piece by piece, and only as fast as they leave."""

import pytest

from scsipub.iscsi.pdu import DataIn, NopIn, NopOut
from scsipub.limits import Limits
from scsipub.storage.base import Base
from scsipub.storage.disk import Disk
from scsipub.storage.layout import OverlayId, OverlayPaths
from tests.support.talk import Sense, command, data_out, full_feature, good, pattern, read, write

MIB = 1024 * 1024
PIECE = 256 * 1024


def test_a_long_read_stops_when_nobody_takes_it():
    """32 MiB are asked for; what is produced is bounded by ``session_output_bytes`` and one piece."""
    talk = full_feature(blocks=65536)
    talk.stuck = True

    talk.initiator(read(1, blocks=65535))

    assert len(talk.wire) <= MIB + PIECE + 48
    talk.stuck, talk.unsent = False, 0
    talk.settle()
    talk.expect_data(1, bytes(65535 * 512))


def test_many_long_reads_are_bounded_together():
    """A window full of them costs no more than one."""
    talk = full_feature(blocks=65536)
    talk.stuck = True

    talk.initiator(*(read(tag, blocks=4096) for tag in range(32)))

    assert len(talk.wire) <= MIB + PIECE + 48


def test_reads_by_threads_are_bounded_together():
    """What threads are reading will have to be sent as well."""
    talk = full_feature(blocks=65536)
    talk.held, talk.disk.cached = True, False

    talk.initiator(*(read(tag, blocks=4096) for tag in range(32)))

    assert talk.nexus.streams.in_threads <= MIB
    assert len(talk.threads) == 4


def test_a_ping_is_answered_before_a_long_read_is_over():
    """It waits for what is queued already, and no longer."""
    talk = full_feature(blocks=65536)
    talk.stuck = True
    talk.initiator(read(1, blocks=65535))
    begun = len(talk.heard)

    talk.initiator(NopOut(immediate=True, initiator_task_tag=9))

    assert len(talk.heard) == begun + 1
    assert isinstance(talk.heard[-1], NopIn)


def test_reads_are_answered_first_come_first_served():
    talk = full_feature(blocks=8192)

    talk.initiator(*(read(tag, blocks=1024) for tag in range(4)))

    order = [each.initiator_task_tag for each in talk.heard]
    assert order == sorted(order)


def test_a_short_read_does_not_overtake_a_long_one_of_the_same_turn():
    """Answers leave in the order of the commands where nothing speaks against it."""
    talk = full_feature(blocks=8192)

    talk.initiator(read(1, blocks=1024), read(2))

    assert [each.initiator_task_tag for each in talk.heard] == [1, 1, 2]


@pytest.mark.parametrize("blocks", [1, 127, 128, 129, 512, 513, 1024, 1537])
@pytest.mark.parametrize("digests", [(), ("HeaderDigest",), ("DataDigest",), ("HeaderDigest", "DataDigest")])
def test_an_image_is_read_as_it_lies_whatever_the_length(tmp_path, blocks, digests):
    """In one PDU or many, in the fast lane or beside it."""
    content = pattern(1600 * 512)
    talk = full_feature(blocks=1600, disk=image(tmp_path, content), **dict.fromkeys(digests, True))
    talk.disk.read(0, 1600, memoryview(bytearray(1600 * 512)))

    talk.initiator(read(1, lba=7, blocks=blocks))

    talk.expect_data(1, content[7 * 512 : (7 + blocks) * 512])


def test_a_long_read_goes_through_base_and_overlay(tmp_path):
    """Runs of both kinds in one command."""
    content = pattern(1024 * 512)
    talk = full_feature(blocks=1024, disk=image(tmp_path, content))
    talk.disk.read(0, 1024, memoryview(bytearray(1024 * 512)))
    ours = pattern(512, 9)
    talk.initiator(write(1, lba=600, data=ours))
    talk.target(good(1))

    talk.initiator(read(2, blocks=1024))

    talk.expect_data(2, content[: 600 * 512] + ours + content[601 * 512 :])


def test_a_read_that_meets_a_write_in_a_thread_waits_for_it():
    """Half old and half new is no sector."""
    talk = full_feature(blocks=8192)
    talk.held, talk.disk.settled = True, False
    talk.initiator(write(1, lba=1000, data=pattern(512)))

    talk.initiator(read(2, blocks=1024))
    assert [type(each) for each in talk.heard] == [DataIn]  # the first half is not touched by it
    talk.thread()
    talk.thread()

    assert talk.heard.pop(1) is not None
    assert b"".join(each.data for each in talk.heard) == bytes(512000) + pattern(512) + bytes(23 * 512)


def test_an_error_in_the_middle_ends_the_read_and_not_the_session():
    """What was sent was sent; the status says that the rest is missing."""
    talk = full_feature(blocks=8192)
    talk.disk.cached = False
    talk.disk.next_errors.extend([0, 5])

    talk.initiator(read(1, blocks=1024), command(2))

    kinds = [(type(each).__name__, each.status) for each in talk.heard]
    assert kinds == [("ScsiResponse", 0), ("DataIn", 0), ("ScsiResponse", 2)]
    talk.initiator(command(3))
    assert talk.heard[-1].status == 0


def test_a_small_configured_bound_holds():
    talk = full_feature(blocks=8192, limits=Limits(session_output_bytes=64 * 1024))
    talk.stuck = True

    talk.initiator(read(1, blocks=4096))

    assert len(talk.wire) <= 64 * 1024 + PIECE + 48


def image(directory, content):
    path = directory / "base.img"
    path.write_bytes(content)
    (directory / "disposable").mkdir()
    paths = OverlayPaths(str(directory), OverlayId("d", "session1", 0), boot=bytes(16))
    return Disk(Base.open(path), paths)


def test_a_read_that_is_sent_write_data_ends_and_sends_nothing_more():
    """RFC 7143 §11.7: nobody asked for that Data-Out; the task ends with CHECK CONDITION alone."""
    talk = full_feature(blocks=8192)
    talk.stuck = True
    talk.unsent = 4 * 1024 * 1024
    talk.initiator(read(1, blocks=4096))
    talk.target()

    talk.initiator(data_out(1, 0, bytes(512)))
    talk.unsent = 0
    talk.settle()

    talk.target(Sense(1, 0x0B, 0x0C, 0x0C))
    assert not talk.nexus.streams.queue
