"""Task attributes: ORDERED, HEAD OF QUEUE, and the rest.  SAM-5 §8.8."""

import pytest

from scsipub.iscsi.pdu import LogoutRequest
from tests.support.talk import (
    Sense,
    Talk,
    command,
    data_in,
    data_out,
    full_feature,
    good,
    pattern,
    r2t,
    read,
    write,
)

SIMPLE, ORDERED, HEAD_OF_QUEUE = 1, 2, 3


def data_for(talk: Talk, tag: int, n: int = -1) -> None:
    talk.initiator(data_out(tag, 0, pattern(512, tag), ttt=talk.tags[n]))


def test_an_ordered_command_waits_for_those_before_it():
    talk = full_feature()
    talk.initiator(write(1), read(2, attribute=ORDERED))
    talk.target(r2t(1, 0, 512))

    data_for(talk, 1)

    talk.target(good(1), data_in(2, pattern(512, 1)))


def test_nothing_overtakes_an_ordered_command_that_waits():
    """Not even on the fast lane."""
    talk = full_feature()

    talk.initiator(write(1, lba=9), write(2, attribute=ORDERED), read(3), write(4, lba=3, data=pattern(512)))
    talk.target(r2t(1, 0, 512))
    data_for(talk, 1)
    talk.target(good(1), r2t(2, 0, 512))
    data_for(talk, 2)

    assert [each.initiator_task_tag for each in talk.heard] == [2, 4, 3]
    assert talk.heard[2].data == pattern(512, 2)


@pytest.mark.parametrize("way", ["fast", "long"])
def test_nothing_overtakes_an_ordered_command_that_has_begun(way):
    """It runs before everything that comes after it; a read of 512 bytes would take the fast lane."""
    talk = full_feature()
    talk.initiator(write(1, attribute=ORDERED))
    talk.target(r2t(1, 0, 512))

    talk.initiator(read(2) if way == "fast" else command(2))
    talk.target()
    data_for(talk, 1)

    talk.target(good(1), data_in(2, pattern(512, 1)) if way == "fast" else good(2))


def test_ordered_commands_run_one_after_the_other():
    talk = full_feature()
    talk.held, talk.disk.settled = True, False

    talk.initiator(*(write(tag, lba=tag, data=pattern(512, tag), attribute=ORDERED) for tag in range(1, 5)))

    for tag in range(1, 5):
        assert len(talk.threads) == 1
        talk.thread()
        talk.target(good(tag))


def test_head_of_queue_passes_everything_that_waits():
    talk = full_feature()
    talk.initiator(write(1), command(2, attribute=ORDERED), command(3))
    talk.heard.clear()

    talk.initiator(command(4, attribute=HEAD_OF_QUEUE))
    talk.target(good(4))
    data_for(talk, 1)

    talk.target(good(1), good(2), good(3))


def test_each_unit_has_an_order_of_its_own():
    """SAM-5 §4.9: a task set belongs to a unit."""
    talk = full_feature(luns=(0, 1))
    talk.initiator(write(1, attribute=ORDERED))
    talk.heard.clear()

    talk.initiator(read(2, lun=1 << 48), command(3, lun=1 << 48, attribute=ORDERED))

    talk.target(data_in(2, bytes(512)), good(3))


def test_two_addresses_of_a_unit_are_one_unit():
    """SAM-5 §4.7: peripheral and flat addressing."""
    talk = full_feature()
    talk.initiator(write(1, attribute=ORDERED))
    talk.heard.clear()

    talk.initiator(command(2, lun=0x4000 << 48))
    talk.target()
    data_for(talk, 1)
    talk.target(good(1), good(2))


def test_data_that_comes_with_a_waiting_command_is_kept_for_it():
    talk = full_feature(InitialR2T="No")
    data = pattern(2048)

    talk.initiator(write(1, lba=9))
    talk.initiator(write(2, blocks=4, data=data[:512], final=False, attribute=ORDERED))
    talk.initiator(data_out(2, 512, data[512:1024], final=False), data_out(2, 1024, data[1024:], data_sn=1))
    assert talk.disk.content[:2048] == bytes(2048)
    data_for(talk, 1)

    talk.target(r2t(1, 0, 512), good(1), good(2))
    assert talk.disk.content[:2048] == data


def test_data_that_is_still_coming_when_the_command_begins_is_taken_too():
    talk = full_feature(InitialR2T="No")
    data = pattern(1024)

    talk.initiator(write(1, lba=9), write(2, blocks=2, data=data[:300], final=False, attribute=ORDERED))
    data_for(talk, 1)
    talk.initiator(data_out(2, 300, data[300:]))

    talk.target(r2t(1, 0, 512), good(1), good(2))
    assert talk.disk.content[:1024] == data


def test_a_command_that_fails_lets_the_next_one_go_on():
    """Also when it fails on the wire: data of the wrong length."""
    talk = full_feature()
    talk.initiator(write(1, blocks=2), command(2, attribute=ORDERED))
    talk.target(r2t(1, 0, 1024))

    talk.initiator(data_out(1, 0, pattern(512), ttt=talk.tags[0]))

    talk.target(Sense(1, 0x0B, 0x0C, 0x0D), good(2))


def test_a_command_that_waits_may_fail_when_its_turn_comes():
    talk = full_feature()
    talk.initiator(write(1), read(2, lba=9999, attribute=ORDERED), command(3))
    talk.heard.clear()

    data_for(talk, 1)

    talk.target(good(1), Sense(2, 0x05, 0x21, 0x00), good(3))


def test_a_full_queue_of_ordered_commands_is_no_deep_recursion():
    talk = full_feature()
    talk.initiator(write(0))
    talk.initiator(*(command(tag, attribute=ORDERED) for tag in range(1, 32)))
    talk.heard.clear()

    data_for(talk, 0)

    talk.target(*(good(tag) for tag in range(32)))


def test_a_session_may_end_while_commands_wait():
    talk = full_feature()
    talk.initiator(write(1), command(2, attribute=ORDERED), LogoutRequest(initiator_task_tag=3))

    talk.nexus.close()

    assert not talk.session.tasks
    assert talk.backings[0].quiet
