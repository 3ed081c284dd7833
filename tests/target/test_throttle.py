"""Throttling: commands wait their turn, and nothing else does."""

import attrs
import pytest

from scsipub.iscsi.pdu import LogoutRequest, LogoutResponse, NopIn, NopOut, TaskManagementRequest
from scsipub.iscsi.pdu import TaskManagementResponse as Done
from scsipub.limits import DEFAULT
from scsipub.scsi.commands import COMMANDS
from scsipub.target.descriptor import Rates
from scsipub.target.throttle import THROTTLED, Throttle
from tests.support.talk import (
    SYNCHRONIZE_CACHE,
    Sense,
    command,
    data_in,
    data_out,
    full_feature,
    good,
    pattern,
    read,
    write,
)

KIB = 1024
ABORT_TASK, LUN_RESET = 1, 5


@attrs.define(eq=False)
class Clock:
    """A throttle for the units of a talk, and the time that it goes by."""

    talk: object
    throttle: Throttle = attrs.field(init=False)
    alarms: int = 0
    others: list = attrs.field(factory=list)

    def pass_(self, seconds: float) -> None:
        """Time passes; the worker does what it does then."""
        for talk in (self.talk, *self.others):
            talk.now += seconds
        self.throttle.release(self.talk.now)
        for talk in (self.talk, *self.others):
            talk.settle()


def throttled(talk, *others, **rates) -> Clock:
    clock = Clock(talk, others=list(others))

    def alarm(throttle):
        clock.alarms += 1

    clock.throttle = Throttle(Rates(**rates), alarm, DEFAULT.max_transfer_bytes)
    for each in (talk, *others):
        each.now = 100.0
        each.nexus.throttle = clock.throttle
    return clock


def window(talk) -> int:
    return talk.session.window


def answered(talk) -> list[int]:
    heard, talk.heard = talk.heard, []
    return [each.initiator_task_tag for each in heard]


# -- waiting -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["fast", "slow"])
def test_one_a_second_comes_one_a_second_in_order(way):
    """Nobody is refused, nobody starves: the queue of 32 is answered in 31 seconds."""
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    bits = {"immediate": True} if way == "slow" else {}
    count = 8 if bits else 32

    talk.initiator(*(read(tag, lba=tag, **bits) for tag in range(count)))

    assert answered(talk) == [0]
    for second in range(1, count):
        clock.pass_(0.9)
        assert answered(talk) == []
        clock.pass_(0.1)
        assert answered(talk) == [second]
    assert clock.alarms == 1
    assert clock.throttle.delay(talk.now) is None


def test_bytes_are_counted_as_well_as_commands():
    """A command may begin when the last one is paid for, however large it is."""
    talk = full_feature(blocks=4096)
    clock = throttled(talk, bytes_per_second=64 * KIB, bytes_burst=64 * KIB)

    talk.initiator(read(1, blocks=256), read(2, lba=256, blocks=8))
    assert answered(talk)[-1] == 1
    clock.pass_(0.9)
    assert answered(talk) == []
    clock.pass_(0.11)

    assert answered(talk) == [2]


def test_a_write_waits_with_its_data():
    """The data that came with it is kept, the rest is asked for when its turn has come."""
    talk = full_feature(InitialR2T="No", FirstBurstLength=1024)
    clock = throttled(talk, iops=1, iops_burst=1)
    data = pattern(2048)

    talk.initiator(read(1), write(2, blocks=4, data=data[:512], final=False))
    talk.initiator(data_out(2, 512, data[512:1024]))
    talk.target(data_in(1, bytes(512)))
    assert talk.nexus.writes.held() == 1024
    clock.pass_(1.0)
    assert len(talk.tags) == 1
    talk.heard.clear()
    talk.initiator(data_out(2, 1024, data[1024:], ttt=talk.tags[0]))

    talk.target(good(2))
    assert talk.nexus.writes.held() == 0
    assert talk.disk.content[: len(data)] == data


def test_looking_at_the_disk_is_never_delayed():
    """INQUIRY and TEST UNIT READY at once, though READs wait."""
    talk = full_feature()
    throttled(talk, iops=1, iops_burst=1)

    talk.initiator(read(1), read(2), command(3))

    assert answered(talk) == [1, 3]


def test_every_command_that_moves_blocks_waits():
    """A command added to the table must not slip through."""
    names = ("READ(", "WRITE", "ORWRITE", "VERIFY", "COMPARE", "SYNCHRONIZE", "UNMAP", "EXTENDED COPY")
    moving = {opcode for (opcode, _), row in COMMANDS.items() if row.name.startswith(names)}

    assert moving == THROTTLED


def test_a_flush_is_an_operation_of_no_bytes():
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1, bytes_per_second=64 * KIB)

    talk.initiator(command(1, SYNCHRONIZE_CACHE), command(2, SYNCHRONIZE_CACHE))
    assert answered(talk) == [1]
    clock.pass_(1.0)

    assert answered(talk) == [2]
    assert clock.throttle.moved.level == 64 * KIB


# -- what goes on meanwhile ----------------------------------------------------------------------------------


def test_pings_and_logouts_do_not_wait():
    """RFC 7143 §11.18, §11.14: and after the logout nothing of what waited is answered."""
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    talk.initiator(read(1), read(2), read(3))
    talk.target(data_in(1, bytes(512)))

    talk.initiator(NopOut(immediate=True, initiator_task_tag=9, data=b"there?"))
    talk.target(NopIn(initiator_task_tag=9, data=b"there?"))
    talk.initiator(LogoutRequest(initiator_task_tag=10, reason=0))
    talk.target(LogoutResponse(initiator_task_tag=10, time2wait=2))

    assert clock.throttle.waiting == {}
    clock.pass_(5.0)
    talk.target()


def test_what_waits_can_be_aborted_and_is_not_charged():
    """RFC 7143 §11.5.1.  The one behind it is next, at its time."""
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    talk.initiator(read(1), read(2), read(3))
    talk.target(data_in(1, bytes(512)))

    talk.initiator(
        TaskManagementRequest(
            immediate=True, function=ABORT_TASK, initiator_task_tag=9, referenced_task_tag=2, ref_cmd_sn=2,
            cmd_sn=4,
        )
    )  # fmt: skip
    talk.target(Done(initiator_task_tag=9))
    clock.pass_(1.0)

    assert answered(talk) == [3]
    assert window(talk) == DEFAULT.command_window


def test_a_reset_ends_all_that_waits():
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    talk.initiator(*(read(tag) for tag in range(5)))
    talk.heard.clear()

    talk.initiator(TaskManagementRequest(immediate=True, function=LUN_RESET, initiator_task_tag=9, cmd_sn=6))

    talk.target(Done(initiator_task_tag=9))
    assert clock.throttle.waiting == {}
    assert not talk.session.tasks


def test_sessions_of_one_target_share_what_there_is_first_come_first_served():
    one = full_feature()
    other = one.another()
    clock = throttled(one, other, iops=1, iops_burst=1)

    one.initiator(read(1), read(2))
    other.initiator(read(3))
    one.initiator(read(4))
    got = []
    for _ in range(4):
        got += [*answered(one), *answered(other)]
        clock.pass_(1.0)

    assert got == [1, 2, 3, 4]


def test_who_has_no_limits_is_not_held_up():
    one = full_feature()
    throttled(one, iops=1, iops_burst=1)
    free = one.another()

    one.initiator(read(1), read(2))
    free.initiator(*(read(tag) for tag in range(10)))

    assert answered(free) == list(range(10))


def test_order_holds_among_those_that_wait():
    """SAM-5 §8.8: an ORDERED command does not pass one that waits, nor is it passed by INQUIRY."""
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)

    talk.initiator(read(1), read(2), command(3, SYNCHRONIZE_CACHE, attribute=2), command(4))
    assert answered(talk) == [1]
    clock.pass_(1.0)
    assert answered(talk) == [2]
    clock.pass_(1.0)

    assert answered(talk) == [3, 4]


def test_a_connection_that_is_lost_leaves_nothing_waiting():
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    talk.initiator(*(write(tag, data=bytes(512)) for tag in range(5)))

    talk.nexus.close()

    assert clock.throttle.waiting == {}
    assert talk.nexus.writes.held() == 0


# -- live changes --------------------------------------------------------------------------------------------


def test_a_higher_rate_is_followed_by_those_that_wait():
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    talk.initiator(*(read(tag) for tag in range(20)))
    assert answered(talk) == [0]

    clock.throttle.change(Rates(iops=1000, iops_burst=1000), talk.now)
    clock.pass_(0.1)

    assert answered(talk) == list(range(1, 20))


def test_without_limits_nobody_waits_any_more():
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    talk.initiator(*(read(tag) for tag in range(4)))
    assert answered(talk) == [0]

    talk.nexus.throttle = None
    clock.throttle.release_all(talk.now)
    talk.settle()

    assert answered(talk) == [1, 2, 3]


# -- the command window --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rates", "sessions", "expected"),
    [
        ({"iops": 1}, 1, 10),
        ({"iops": 1}, 10, 1),
        ({"iops": 1}, 32, 1),
        ({"iops": 3}, 1, 30),
        ({"iops": 4}, 1, 32),
        ({"bytes_per_second": 1 << 20}, 1, 10),
        ({"bytes_per_second": 64 * KIB}, 1, 1),
        ({"iops": 2, "bytes_per_second": 1 << 30}, 2, 10),
    ],
)
def test_no_more_is_under_way_than_is_answered_in_ten_seconds(rates, sessions, expected):
    throttle = Throttle(Rates(**rates), lambda throttle: None, 1 << 25)

    assert throttle.window(32, sessions) == expected


def test_a_window_shrinks_as_commands_end_and_max_cmd_sn_never_goes_back():
    """RFC 7143 §4.2.2.1; ``Talk`` holds every answer against the rule."""
    talk = full_feature()
    clock = throttled(talk, iops=1000, iops_burst=1000)
    talk.session.set_window(10)
    assert window(talk) == 32

    talk.initiator(*(read(tag) for tag in range(22)))
    talk.heard.clear()
    assert (window(talk), talk.session.surplus) == (10, 0)
    talk.initiator(*(read(tag) for tag in range(5)))
    talk.heard.clear()
    assert window(talk) == 10

    talk.session.set_window(32)
    assert window(talk) == 32
    assert clock.throttle.waiting == {}


def test_a_window_that_is_opened_before_it_has_shrunk_has_its_size():
    talk = full_feature()
    throttled(talk, iops=1000, iops_burst=1000)
    talk.session.set_window(4)
    talk.initiator(*(read(tag) for tag in range(8)))
    talk.heard.clear()

    talk.session.set_window(30)
    talk.initiator(*(read(tag) for tag in range(40, 45)))
    talk.heard.clear()

    assert (window(talk), talk.session.surplus) == (30, 0)


def test_a_command_beyond_the_window_is_ignored():
    """RFC 7143 §4.2.2.1: what waits takes up the window; who sends more than was allowed is not heard."""
    talk = full_feature()
    clock = throttled(talk, iops=1, iops_burst=1)
    talk.session.window = talk.session.window_size = 2
    talk._max_cmd_sn = talk.cmd_sn + 1

    talk.initiator(read(1), read(2), read(3), read(4))
    assert answered(talk) == [1]
    clock.pass_(1.0)
    assert answered(talk) == [2]
    clock.pass_(1.0)

    assert answered(talk) == [3]
    assert not talk.session.tasks


def test_more_than_a_disk_has_is_refused_in_its_turn():
    """SBC: 21h/00h, and it cost one operation, not the bytes it asked for."""
    talk = full_feature(blocks=100)
    clock = throttled(talk, bytes_per_second=1 << 20, iops=1, iops_burst=1)
    talk.initiator(read(1))
    talk.heard.clear()

    talk.initiator(read(2, lba=100))
    talk.target()
    clock.pass_(1.0)

    talk.target(Sense(2, 0x05, 0x21, 0x00))
