"""Faults on demand, in a session: each command struck ends as its standard has it, and no other does."""

import attrs
import pytest

from scsipub.faults.rules import Injector, Rule
from scsipub.iscsi import pdu
from scsipub.target.faulty import Faulty
from tests.support.talk import (
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

ABORT_TASK = 1


@attrs.define(eq=False)
class Trouble:
    """What the worker does for a session under test: tells the time, and calls later."""

    talk: object
    waiting: list = attrs.field(factory=list)

    def later(self, seconds, deed):
        self.waiting.append((self.talk.now + seconds, deed))

    def pass_(self, seconds):
        self.talk.now += seconds
        due = [deed for at, deed in self.waiting if at <= self.talk.now]
        self.waiting = [(at, deed) for at, deed in self.waiting if at > self.talk.now]
        for deed in due:
            deed(self.talk.now)
        self.talk.settle()


def trouble(*rules, **how):
    talk = full_feature(**how)
    made = Trouble(talk)
    injector = Injector([Rule.parse(rule) for rule in rules], 1, talk.now)
    talk.nexus.faults = Faulty(injector, made.later)
    return talk, made


def heard(talk):
    said, talk.heard = talk.heard, []
    return said


def aborted(talk, tag, ref):
    """ABORT TASK, and the response code that comes."""
    talk.initiator(pdu.TaskManagementRequest(
        initiator_task_tag=tag, function=ABORT_TASK, referenced_task_tag=ref, immediate=True
    ))  # fmt: skip
    [answer] = heard(talk)
    return answer.response


def test_what_no_rule_fits_is_as_ever():
    talk, _ = trouble("busy opcode=WRITE(10)")

    talk.initiator(read(1))

    talk.target(data_in(1, bytes(512)))


@pytest.mark.parametrize(("fault", "status"), [("busy", 0x08), ("task-set-full", 0x28)])
def test_a_status_without_sense_ends_the_command_and_nothing_is_written(fault, status):
    """SAM-5 §5.3.1."""
    talk, _ = trouble(f"{fault} times=1")

    talk.initiator(write(1, data=pattern(512)))
    talk.target(good(1, status=status, underflow=True, residual_count=512))
    talk.initiator(read(2))

    talk.target(data_in(2, bytes(512)))


def test_a_medium_error_says_whether_reading_or_writing_failed():
    """SPC-4 annex D: UNRECOVERED READ ERROR, WRITE ERROR."""
    talk, _ = trouble("medium-error")

    talk.initiator(read(1), write(2, data=pattern(512)))

    talk.target(Sense(1, 3, 0x11, 0), Sense(2, 3, 0x0C, 0))


def test_a_delayed_command_begins_later_and_others_pass_it():
    talk, made = trouble("delay seconds=2 opcode=READ(10) times=1")

    talk.initiator(read(1), read(2))
    talk.target(data_in(2, bytes(512)))
    made.pass_(1.9)
    talk.target()
    made.pass_(0.2)

    talk.target(data_in(1, bytes(512)))


def test_write_data_that_comes_while_its_command_is_delayed_is_kept():
    talk, made = trouble("delay seconds=2", InitialR2T=False, ImmediateData=False)
    data = pattern(1024)

    talk.initiator(write(1, blocks=2, final=False), data_out(1, 0, data))
    talk.target()
    made.pass_(2)
    talk.target(good(1))
    talk.nexus.faults = None
    talk.initiator(read(2, blocks=2))

    talk.target(data_in(2, data))


def test_a_delayed_command_that_is_aborted_never_begins():
    talk, made = trouble("delay seconds=2")

    talk.initiator(read(1))
    assert aborted(talk, 9, 1) == 0
    made.pass_(3)

    talk.target()


def test_a_write_whose_response_is_dropped_is_written_and_stays_a_task():
    talk, _ = trouble("drop-response opcode=WRITE(10)")

    talk.initiator(write(1, data=pattern(512)), read(2))

    talk.target(data_in(2, pattern(512)))
    assert aborted(talk, 9, 1) == 0


def test_a_read_whose_response_is_dropped_can_be_aborted():
    talk, _ = trouble("drop-response")

    talk.initiator(read(1))
    talk.target()

    assert aborted(talk, 9, 1) == 0


def test_a_cut_closes_the_connection_without_an_answer():
    talk, _ = trouble("cut skip=1")

    talk.initiator(read(1), read(2), read(3))

    talk.target(data_in(1, bytes(512)))
    assert talk.session.closing


def test_write_data_asked_for_by_r2t_is_not_asked_for_when_the_command_is_refused():
    talk, _ = trouble("busy")

    talk.initiator(write(1, blocks=64))

    [answer] = heard(talk)
    assert (answer.status, answer.residual_count) == (0x08, 64 * 512)


def test_every_command_is_counted_fast_ones_too():
    talk, _ = trouble("busy p=0")

    talk.initiator(*(read(tag) for tag in range(10)), command(11))

    assert talk.nexus.faults.injector.to_json()["commands"] == 11


@pytest.mark.parametrize("blocks", [1, 200], ids=["short", "stream"])
@pytest.mark.parametrize("which", ["header_digest", "data_digest"])
def test_one_digest_is_wrong_and_the_next_is_right(which, blocks):
    """RFC 7143 §13.1: whoever checks them notices, and nobody else."""
    talk, _ = trouble("digest-error times=1", **{which: True})

    with pytest.raises(AssertionError):  # the talk checks every digest
        talk.initiator(read(1, blocks=blocks))
    assert talk.session.spoiled == 0


def test_without_digests_nothing_is_wrong():
    talk, _ = trouble("digest-error")

    talk.initiator(read(1))

    talk.target(data_in(1, bytes(512)))
