"""The unit attention queue of a nexus."""

from hypothesis import given
from hypothesis import strategies as st

from scsipub.scsi import attentions
from scsipub.scsi.attentions import QUEUE_LENGTH, Attentions
from scsipub.scsi.sense import Key
from tests.support.scsi import bench

TUR = "00 00 00 00 00 00"
INQUIRY = "12 00 00 00 24 00"
REQUEST_SENSE = "03 00 00 00 fc 00"
REPORT_LUNS = "a0 00 00 00 00 00 00 00 00 40 00 00"
READ = "28 00 00 00 00 00 00 00 01 00"


def test_attentions_are_reported_in_the_order_they_came_once_each():
    """SAM-5 §5.14: one per command, oldest first, without doubles."""
    queue = Attentions()
    for attention in (
        attentions.MODE_PARAMETERS_CHANGED,
        attentions.LUNS_CHANGED,
        attentions.MODE_PARAMETERS_CHANGED,
    ):
        queue.add(attention)

    assert queue.take_nowait() == attentions.MODE_PARAMETERS_CHANGED
    assert queue.take_nowait() == attentions.LUNS_CHANGED
    assert queue.take_nowait() is None


def test_a_reset_makes_what_came_before_moot():
    queue = Attentions()
    queue.add(attentions.CAPACITY_CHANGED)
    queue.add(attentions.POWER_ON_OR_RESET)

    assert queue.take_nowait() == attentions.POWER_ON_OR_RESET
    assert not queue


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 3)), max_size=40))
def test_the_queue_is_bounded_and_keeps_the_newest(seen):
    queue = Attentions()
    for attention in seen:
        queue.add(attention)

    assert len(queue) <= QUEUE_LENGTH
    waiting = []
    while queue:
        waiting.append(queue.take_nowait())
    assert len(waiting) == len(set(waiting))
    if seen:
        assert seen[-1] in waiting


def test_a_command_meets_the_attention_and_the_next_one_does_not():
    disk = bench()
    disk.unit.capacity_changed(2048)
    assert not disk.lane.may_read

    assert disk(TUR).key == (Key.UNIT_ATTENTION, 0x2A, 0x09)
    assert disk.lane.may_read
    assert disk(TUR).key is None


def test_an_unknown_command_meets_the_attention_too():
    disk = bench()
    disk.unit.luns_changed()

    assert disk("ff").key == (Key.UNIT_ATTENTION, 0x3F, 0x0E)
    assert disk("ff").key == (Key.ILLEGAL_REQUEST, 0x20, 0x00)


def test_inquiry_and_report_luns_neither_report_nor_clear_it():
    """SPC-4 §6.6.1 and §6.33: they are answered while a unit attention is pending."""
    disk = bench()
    disk.unit.raise_attention(attentions.INQUIRY_CHANGED)

    assert disk(INQUIRY).key is None
    assert disk(REPORT_LUNS).key is None
    assert disk(READ).key == (Key.UNIT_ATTENTION, 0x3F, 0x03)


def test_report_luns_clears_the_attention_that_luns_changed():
    """SPC-4 §6.33: the news has been told."""
    disk = bench()
    disk.unit.luns_changed()

    assert disk(REPORT_LUNS).key is None
    assert disk(TUR).key is None


def test_request_sense_returns_the_attention_and_clears_it():
    """SPC-4 §6.39: with GOOD status, as parameter data."""
    disk = bench()
    disk.unit.raise_attention(attentions.POWER_ON)

    answer = disk(REQUEST_SENSE)
    assert (answer.data[2], answer.data[12], answer.data[13]) == (6, 0x29, 0x01)
    assert disk(TUR).key is None


def test_an_attention_reaches_every_nexus_but_its_cause():
    disk = bench()
    other = disk.another()
    disk.unit.raise_attention(attentions.MODE_PARAMETERS_CHANGED, but=disk.lane)

    assert disk(TUR).key is None
    assert disk(TUR, lane=other).key == (Key.UNIT_ATTENTION, 0x2A, 0x01)


def test_commands_cleared_by_another_nexus_are_announced_to_their_owners():
    """SAM-5 §5.6: 2Fh/00h when TAS=0."""
    disk = bench()
    other = disk.another()
    disk.unit.commands_cleared([other])

    assert disk(TUR).key is None
    assert disk(TUR, lane=other).key == (Key.UNIT_ATTENTION, 0x2F, 0x00)


def test_the_attention_given_at_attach_waits_for_the_first_command():
    disk = bench()
    returned = disk.unit.attach("iqn.2025-01.test:back", attention=attentions.NEXUS_LOSS)

    assert disk(TUR, lane=returned).key == (Key.UNIT_ATTENTION, 0x29, 0x07)
    assert disk(TUR, lane=returned).key is None


def test_the_thin_threshold_is_told_as_a_unit_attention():
    disk = bench()
    disk.unit.thin_threshold_reached()

    assert disk(TUR).key == (Key.UNIT_ATTENTION, 0x38, 0x07)
