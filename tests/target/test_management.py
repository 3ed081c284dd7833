"""Task management: what is aborted, who hears of it, and when the answer may be given."""

import pytest

from scsipub.iscsi.constants import RejectReason, TaskFunction, TaskResponse
from scsipub.iscsi.pdu import TaskManagementRequest, TaskManagementResponse
from tests.support.talk import (
    SYNCHRONIZE_CACHE,
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
    rejected,
    write,
)

ABSENT = 5 << 48
ORDERED = 2


def manage(function: TaskFunction, tag: int = 0x99, **fields: int) -> TaskManagementRequest:
    return TaskManagementRequest(
        immediate=True, function=function, initiator_task_tag=tag, **{"ref_cmd_sn": 1, **fields}
    )


def abort(tag: int, **fields: int) -> TaskManagementRequest:
    return manage(TaskFunction.ABORT_TASK, referenced_task_tag=tag, **fields)


def done(response: TaskResponse = TaskResponse.FUNCTION_COMPLETE, tag: int = 0x99) -> TaskManagementResponse:
    return TaskManagementResponse(initiator_task_tag=tag, response=response)


def in_thread(talk: Talk, *said) -> None:
    """Say this, and let the disk be slow about it."""
    talk.held = True
    talk.disk.settled = talk.disk.cached = False
    talk.initiator(*said)


# -- ABORT TASK ----------------------------------------------------------------------------------------------


def test_a_write_that_waits_for_data_is_aborted_at_once():
    """RFC 7143 §11.5.1: no status follows, and the window opens again."""
    talk = full_feature()
    talk.initiator(write(7))
    talk.target(r2t(7, 0, 512))

    talk.initiator(abort(7))

    answer = talk.target(done())[0]
    assert answer.max_cmd_sn == answer.exp_cmd_sn + 31


def test_data_for_an_aborted_write_is_swallowed():
    """Late Data-Out up to its F bit is neither written nor answered."""
    talk = full_feature()
    talk.initiator(write(7, blocks=2))
    talk.target(r2t(7, 0, 1024))
    talk.initiator(abort(7))
    talk.target(done())

    ttt = talk.tags[0]
    talk.initiator(
        data_out(7, 0, pattern(512), ttt=ttt, final=False),
        data_out(7, 512, pattern(512), ttt=ttt, data_sn=1),
    )

    talk.target()
    assert not any(talk.disk.content)


def test_an_abort_waits_for_the_thread_that_writes():
    """After the answer nothing of the task reaches the disk, so the answer comes after the write."""
    talk = full_feature()
    in_thread(talk, write(7, data=pattern(512)), abort(7))
    talk.target()
    assert len(talk.threads) == 1

    talk.thread()

    talk.target(done())
    assert talk.disk.content[:512] == pattern(512)


def test_an_abort_waits_for_the_thread_that_reads():
    """And no byte of the read leaves after it."""
    talk = full_feature()
    in_thread(talk, read(7))
    talk.initiator(abort(7))
    talk.target()

    talk.thread()

    talk.target(done())
    assert talk.nexus.streams.in_threads == 0


def test_an_abort_waits_for_a_flush():
    """SYNCHRONIZE CACHE holds no sectors, but a thread."""
    talk = full_feature()
    in_thread(talk, command(7, SYNCHRONIZE_CACHE), abort(7))
    talk.target()

    talk.thread()

    talk.target(done())


def test_a_write_that_waits_for_another_one_is_aborted_before_it_begins():
    """§11.5.1: nothing of it has reached the disk, so nothing will; and its memory is free again."""
    talk = full_feature()
    in_thread(talk, write(1, data=pattern(512)), write(2, data=pattern(512, 2)))
    assert talk.nexus.writes.buffered == 1024

    talk.initiator(abort(2))
    talk.target(done())
    assert talk.nexus.writes.buffered == 512
    talk.thread()

    talk.target(good(1))
    assert talk.disk.content[:512] == pattern(512)
    assert talk.nexus.writes.buffered == 0
    assert talk.backings[0].quiet


def test_a_read_that_waits_for_a_write_is_aborted_before_it_begins():
    """§11.5.1: what it would have read counts no more against the memory of the session."""
    talk = full_feature()
    in_thread(talk, write(1, data=pattern(512)), read(2))

    talk.initiator(abort(2))
    talk.target(done())
    talk.thread()

    talk.target(good(1))
    assert talk.nexus.streams.in_threads == 0


def test_a_long_read_stops_where_it_is():
    """§11.5.1: a read that has been answered in part is not answered to its end."""
    talk = full_feature(blocks=8192)
    talk.stuck = True
    talk.initiator(read(7, blocks=4096))
    begun = len(talk.heard)
    assert 0 < begun < 8
    talk.heard.clear()

    talk.initiator(abort(7))
    talk.target(done())
    talk.stuck, talk.unsent = False, 0
    talk.do(lambda: None)
    talk.target()


def test_an_abort_names_the_unit_as_well():
    """§11.5.1: tag and LUN together name a task."""
    talk = full_feature(luns=(0, 1))
    talk.initiator(write(7))
    talk.target(r2t(7, 0, 512))

    talk.initiator(abort(7, lun=1 << 48, ref_cmd_sn=0x70000000))
    talk.target(done(TaskResponse.TASK_DOES_NOT_EXIST))
    talk.initiator(data_out(7, 0, pattern(512), ttt=talk.tags[0]))
    talk.target(good(7))


def test_a_task_that_nobody_knows_does_not_exist():
    """§11.6.1: response 1."""
    talk = full_feature()

    talk.initiator(abort(7, ref_cmd_sn=0x70000000))

    talk.target(done(TaskResponse.TASK_DOES_NOT_EXIST))


def test_a_task_of_another_session_cannot_be_aborted():
    """§11.5.1: task tags belong to a session."""
    talk = full_feature()
    other = talk.another()
    talk.initiator(write(7))
    talk.target(r2t(7, 0, 512))

    other.initiator(abort(7, ref_cmd_sn=0x70000000))
    other.target(done(TaskResponse.TASK_DOES_NOT_EXIST))
    talk.initiator(data_out(7, 0, pattern(512), ttt=talk.tags[0]))
    talk.target(good(7))


def test_a_second_abort_of_the_same_task_finds_nothing_or_waits():
    """Whatever is said of a task whose thread is still writing comes after that thread."""
    talk = full_feature()
    in_thread(talk, write(7, data=pattern(512)), abort(7))

    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET, 0x9A))
    talk.target()
    talk.thread()

    assert {each.initiator_task_tag for each in talk.target(*_both(talk))} == {0x99, 0x9A}


def _both(talk: Talk) -> list[TaskManagementResponse]:
    return [done(tag=each.initiator_task_tag) for each in talk.heard]


# -- whole task sets -----------------------------------------------------------------------------------------


def test_abort_task_set_ends_the_tasks_of_this_session_only():
    """SAM-5 §7.3: the tasks of the I_T_L nexus; the neighbours' go on, and no attention is raised."""
    talk = full_feature()
    other = talk.another()
    talk.initiator(write(1), write(2))
    other.initiator(write(1))
    talk.heard.clear(), other.heard.clear()

    talk.initiator(manage(TaskFunction.ABORT_TASK_SET))

    talk.target(done())
    assert not talk.session.tasks
    other.initiator(data_out(1, 0, pattern(512), ttt=other.tags[0]))
    other.target(good(1))


def test_abort_task_set_leaves_other_units_alone():
    """SAM-5 §7.3: a task set is of one unit."""
    talk = full_feature(luns=(0, 1))
    talk.initiator(write(1), write(2, lun=1 << 48))
    talk.heard.clear()

    talk.initiator(manage(TaskFunction.ABORT_TASK_SET))
    talk.target(done())
    talk.initiator(data_out(2, 0, pattern(512), ttt=talk.tags[1]))
    talk.target(good(2))


def test_clear_task_set_ends_everybodys_tasks_and_tells_those_who_lost_some():
    """SAM-5 §7.5, §5.14.7: 2F00h COMMANDS CLEARED BY ANOTHER INITIATOR for them and nobody else."""
    talk = full_feature()
    loser, idle = talk.another(), talk.another()
    talk.initiator(write(1))
    loser.initiator(write(1))
    talk.heard.clear(), loser.heard.clear()

    talk.initiator(manage(TaskFunction.CLEAR_TASK_SET))

    talk.target(done())
    for each in (talk, loser, idle):
        each.initiator(command(2))
    talk.target(good(2))
    loser.target(Sense(2, 0x06, 0x2F, 0x00))
    idle.target(good(2))


def test_a_unit_reset_ends_everybodys_tasks_and_tells_everybody():
    """SAM-5 §7.7, §6.3.3: 2903h for every nexus; from two sides at once it works as well."""
    talk = full_feature()
    other = talk.another()
    for each in (talk, other):
        each.initiator(*(write(tag) for tag in range(8)))
        each.heard.clear()

    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET))
    other.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET))

    for each in (talk, other):
        each.target(done())
        assert not each.session.tasks
        assert each.session.window == 32
        each.initiator(command(50), command(51))
        each.target(Sense(50, 0x06, 0x29, 0x03), good(51))


def test_a_reset_answers_when_the_last_thread_has_ended_whosever_it_was():
    """The thread of another session ends in that session's time; the answer goes to who asked."""
    talk = full_feature()
    other = talk.another()
    in_thread(other, write(1, data=pattern(512)))

    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET))
    talk.target()
    other.thread()

    talk.target(done())
    other.target()


def test_what_a_reset_sets_free_for_another_session_is_told_to_that_session():
    """An ORDERED command that may go on now answers on its own connection, not on the resetter's."""
    talk = full_feature(luns=(0, 1))
    other = talk.another()
    other.initiator(write(1), command(2, attribute=ORDERED), command(3, lun=1 << 48))
    other.heard.clear()

    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET))

    talk.target(done())
    other.target(good(3))


def test_memory_that_a_reset_sets_free_is_used_by_its_own_session():
    """An R2T that waited for memory goes to the session that waits for it."""
    talk = full_feature(luns=(0, 1), blocks=65536, MaxBurstLength=1 << 20, ImmediateData="No")
    other = talk.another()
    other.initiator(*(write(tag, blocks=2048) for tag in range(8)))
    other.initiator(write(9, lun=1 << 48))
    assert [each.initiator_task_tag for each in other.heard] == list(range(8))
    other.heard.clear()

    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET))

    talk.target(done())
    other.target(r2t(9, 0, 512))


def test_a_unit_that_is_not_there_cannot_be_reset():
    """§11.6.1: response 2, for every function that names a unit."""
    talk = full_feature()

    for function in (
        TaskFunction.ABORT_TASK_SET, TaskFunction.CLEAR_TASK_SET, TaskFunction.LOGICAL_UNIT_RESET,
    ):  # fmt: skip
        talk.initiator(manage(function, lun=ABSENT))
        talk.target(done(TaskResponse.LUN_DOES_NOT_EXIST))


@pytest.mark.parametrize("lun", [1 << 48, 0x4001 << 48])
def test_a_unit_answers_to_both_of_its_addresses(lun):
    """SAM-5 §4.7: peripheral and flat addressing name the same unit, also for a reset."""
    talk = full_feature(luns=(0, 1))
    talk.initiator(write(1, lun=1 << 48))
    talk.heard.clear()

    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET, lun=lun))

    talk.target(done())
    assert not talk.session.tasks


def test_a_warm_reset_ends_all_tasks_of_all_units():
    """§11.5.1: TARGET WARM RESET; every nexus meets 2900h; the sessions stay."""
    talk = full_feature(luns=(0, 1))
    other = talk.another()
    talk.initiator(write(1), write(2, lun=1 << 48))
    other.initiator(write(1))
    talk.heard.clear(), other.heard.clear()

    talk.initiator(manage(TaskFunction.TARGET_WARM_RESET))

    talk.target(done())
    for each in (talk, other):
        assert not each.session.tasks
        assert not each.session.closing
        each.initiator(command(5), command(6, lun=1 << 48))
        each.target(Sense(5, 0x06, 0x29, 0x00), Sense(6, 0x06, 0x29, 0x00))


def test_a_cold_reset_closes_every_session_of_the_target():
    """§11.5.1: TARGET COLD RESET is a warm one, and then all connections are closed."""
    talk = full_feature()
    other = talk.another()

    talk.initiator(manage(TaskFunction.TARGET_COLD_RESET))

    talk.target(done())
    assert talk.session.closing
    assert other.session.closing


@pytest.mark.parametrize(
    ("function", "response"),
    [
        (TaskFunction.TASK_REASSIGN, TaskResponse.TASK_ALLEGIANCE_REASSIGNMENT_NOT_SUPPORTED),
        (TaskFunction.CLEAR_ACA, TaskResponse.FUNCTION_NOT_SUPPORTED),
        (0, TaskResponse.FUNCTION_NOT_SUPPORTED),
        (9, TaskResponse.FUNCTION_NOT_SUPPORTED),
        (127, TaskResponse.FUNCTION_NOT_SUPPORTED),
    ],
)
def test_what_is_not_offered_says_so(function, response):
    """§11.6.1: at ErrorRecoveryLevel 0 tasks are not reassigned; NACA is refused, so there is no ACA."""
    talk = full_feature()

    talk.initiator(manage(function))

    talk.target(done(response))


def test_a_numbered_function_takes_its_turn():
    """§4.2.2.1: sent without the I bit it runs after the commands before it."""
    talk = full_feature()

    talk.initiator(TaskManagementRequest(function=5, initiator_task_tag=2, cmd_sn=2), command(3, cmd_sn=3))
    talk.target()
    talk.initiator(read(1, cmd_sn=1))

    talk.target(done(tag=2), Sense(3, 0x06, 0x29, 0x03))


def test_functions_that_wait_for_threads_are_bounded():
    """A disk that hangs must not let requests pile up; eight wait, the ninth is rejected."""
    talk = full_feature()
    in_thread(talk, write(7, data=pattern(512)))

    talk.initiator(*(manage(TaskFunction.LOGICAL_UNIT_RESET, tag) for tag in range(8)))
    talk.target()
    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET, 8))
    talk.target(rejected(RejectReason.TOO_MANY_IMMEDIATE_COMMANDS))
    talk.thread()
    talk.target(*(done(tag=tag) for tag in range(8)))

    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET, 9))
    talk.target(done(tag=9))


# -- the end of a session ------------------------------------------------------------------------------------


def test_a_lost_connection_gives_back_what_it_had_not_begun():
    """Ranges that a dead session would have written are free for the others."""
    talk = full_feature()
    other = talk.another()
    in_thread(talk, write(1, data=pattern(512)), write(2, data=pattern(512, 2)))
    in_thread(other, write(1, data=pattern(512, 3)))
    (begun,) = talk.threads
    talk.threads.clear()

    talk.nexus.close()
    assert not other.threads
    talk.do(lambda: talk._run(begun))
    other.settle()
    other.thread()

    other.target(good(1))
    assert talk.backings[0].quiet
    assert talk.disk.content[:512] == pattern(512, 3)


def test_a_lost_connection_lets_a_reset_of_another_session_end():
    """A job that was admitted but will never run must not be waited for."""
    talk = full_feature()
    other = talk.another()
    in_thread(other, write(1, data=pattern(512)))
    talk.initiator(manage(TaskFunction.LOGICAL_UNIT_RESET))
    talk.target()

    other.nexus.jobs, other.threads = tuple(other.threads), []
    other.nexus.close()
    talk.settle()

    talk.target(done())
    assert talk.backings[0].quiet


def test_a_read_after_an_aborted_write_sees_all_or_nothing_of_it_for_ever():
    """What was aborted while a thread wrote it is done with before the next command looks."""
    talk = full_feature()
    in_thread(talk, write(7, data=pattern(512)), abort(7), read(8))
    talk.disk.cached = True
    talk.thread()
    while talk.threads:
        talk.thread()

    answers = talk.heard
    talk.heard = []
    assert [each.initiator_task_tag for each in answers] == [0x99, 8]
    assert answers[1].data == pattern(512)


def test_a_read_that_was_answered_cannot_be_aborted_any_more():
    """§11.5.1: abort and status cross; the initiator has the status."""
    talk = full_feature()

    talk.initiator(read(1), abort(1))

    talk.target(data_in(1, bytes(512)), done(TaskResponse.TASK_DOES_NOT_EXIST))
