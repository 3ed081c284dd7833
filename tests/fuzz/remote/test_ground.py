"""What is known of a unit far away."""

from fuzz.hearing import NO_TAG
from fuzz.remote import stale
from fuzz.remote.ground import CANARY, HAUNTING, FarTask, fresh, successor
from fuzz.steps import fill


def write(disk, first, count, seed, **more):
    cdb = b"\x2a\0" + first.to_bytes(4) + b"\0" + count.to_bytes(2) + bytes(7)
    task = FarTask(NO_TAG, 0, cdb, disk, True, False, True, count * 512, 0, 0, **more)
    task.data = bytearray(fill(seed, count * 512))
    disk.begin(task, 0.0)
    return task


def test_a_write_that_ended_well_is_known():
    disk = fresh(bytes(8192), 512, 16)
    disk.end(write(disk, 2, 3, 1), 0.0, well=True)

    assert disk.complaint(2, fill(1, 1536)) == ""
    assert disk.complaint(2, bytes(1536))


def test_two_writes_that_overlapped_prove_nothing_about_one_another():
    disk = fresh(bytes(8192), 512, 16)
    first, second = write(disk, 2, 3, 1), write(disk, 4, 3, 2)
    disk.end(second, 0.0, well=True)
    disk.end(first, 0.0, well=True)

    assert disk.complaint(4, fill(3, 512)) == ""
    assert disk.complaint(0, fill(3, 512))


def test_a_write_that_was_given_up_haunts_for_a_while():
    disk = fresh(bytes(8192), 512, 16)
    given_up = write(disk, 2, 3, 1)
    disk.end(given_up, 10.0, well=None)
    disk.laid([given_up], 10.0)
    soon, late = write(disk, 2, 1, 2), None
    soon_mixed = soon.mixed
    disk.haunted = [(5.0, 2, 5)]
    late = write(disk, 3, 1, 2)

    assert soon_mixed
    assert late.mixed
    disk.running.clear()
    again = FarTask(1, 0, late.cdb, disk, True, False, True, 512, 0, 0)
    disk.begin(again, 6.0)
    assert not again.mixed


def test_a_write_that_was_given_up_may_come_for_as_long_as_its_session_lives():
    """A task management function may not have met it after all."""
    disk = fresh(bytes(8192), 512, 16)
    given_up = write(disk, 2, 3, 1)
    disk.end(given_up, 10.0, well=None)
    soon = write(disk, 4, 1, 2)
    disk.end(soon, 10.0 + 5 * HAUNTING, well=True)

    assert soon.mixed
    assert not disk.content.known(4, 1)
    assert write(disk, 3, 1, 2).mixed
    assert not write(disk, 5, 1, 2).mixed


def test_what_was_read_before_a_write_that_still_haunts_is_not_known():
    """A write on a connection that was dropped may come after somebody has read the whole unit anew."""
    before = fresh(bytes(8192), 512, 16)
    given_up = write(before, 2, 3, 1)
    before.end(given_up, 5.0, well=None)
    before.laid([given_up], 10.0)

    soon = successor(before, fresh(bytes(8192), 512, 16), 10.0 + HAUNTING / 2)
    late = successor(before, fresh(bytes(8192), 512, 16), 10.0 + HAUNTING)

    assert not soon.content.known(2, 3)
    assert soon.content.known(5, 11)
    assert write(soon, 4, 1, 2).mixed
    assert late.content.known(0, 16)
    assert late.haunted == []


def test_what_lies_beyond_the_model_is_not_judged():
    disk = fresh(bytes(1024), 512, 100)
    disk.end(write(disk, 50, 2, 1), 0.0, well=True)

    assert disk.complaint(50, bytes(1024)) == ""


def test_write_data_is_known_again_and_tables_are_not():
    assert stale.written(b"\0" * 16 + fill(5, 64)) == 16
    assert stale.written(bytes(range(8)) * 8) == -1
    assert stale.written(b"SCSIPUB DISK            0001" * 4) == -1


def test_words_for_what_was_read_instead():
    disk = fresh(bytes(1024) + CANARY * 100, 512, 100)

    assert stale.explain(disk, 0, CANARY * 60, "w", "READ(10)")[0] == "leak: another session's bytes"
    assert stale.explain(disk, 2, bytes(512), "w", "READ(10)")[0] == "wrong data: other sectors"
    assert stale.explain(disk, 0, fill(9, 512), "w", "READ(10)")[0].startswith("wrong data: written")
