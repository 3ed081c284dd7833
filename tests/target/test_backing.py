"""Backing: blocks over sectors, and the order in which slow work on one disk may run."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.scsi.identity import UnitConfig
from scsipub.scsi.unit import LogicalUnit
from scsipub.target.backing import Backing, BlockMedium, Job
from tests.support.memory_disk import MemoryDisk
from tests.support.talk import pattern

SECTORS = 64


def make_backing(threads: int = 1000) -> Backing:
    return Backing(LogicalUnit(UnitConfig(uuid=bytes(16)), SECTORS), MemoryDisk(SECTORS), 512, threads)


def make_job(backing: Backing, first: int, count: int, writes: bool, ready) -> Job:
    return Job(backing, lambda: None, lambda result, error: None, ready, first, first + count - 1, writes)


def overlap(a: Job, b: Job) -> bool:
    return set(range(a.first, a.last + 1)) & set(range(b.first, b.last + 1)) != set()


JOBS = st.lists(st.tuples(st.integers(0, 15), st.integers(0, 6), st.booleans()), max_size=30)


def test_one_unit_keeps_so_many_threads_busy_and_no_more():
    """H: a disk that hangs must leave threads for the others."""
    backing, began = make_backing(threads=2), []
    jobs = [make_job(backing, n, 1, True, began.append) for n in range(4)]

    for job in jobs:
        backing.admit(job)
    assert began == jobs[:2]
    backing.finished(jobs[1])
    assert began == jobs[:3]
    assert not backing.withdraw(jobs[2])
    assert backing.withdraw(jobs[3])
    backing.finished(jobs[0])

    assert began == jobs[:3]


@settings(max_examples=200)
@given(JOBS, st.data())
def test_jobs_never_meet_and_all_of_them_run(jobs, data):
    """Writers have their sectors alone, readers share theirs, and everybody's turn comes.

    Arrivals, ends and withdrawals come in any order."""
    backing = make_backing()
    arrivals, began = [], []
    todo = list(jobs)
    withdrawn = 0

    while todo or backing.running or backing.waiting:
        moves = [*("arrive" for _ in todo[:1]), *("finish" for _ in backing.running[:1]),
                 *("withdraw" for _ in list(backing.waiting)[:1])]  # fmt: skip
        move = data.draw(st.sampled_from(moves))
        if move == "arrive":
            arrivals.append(make_job(backing, *todo.pop(0), began.append))
            backing.admit(arrivals[-1])
        elif move == "finish":
            backing.finished(data.draw(st.sampled_from(backing.running)))
        elif data.draw(st.integers(0, 3)) == 0:
            assert backing.withdraw(data.draw(st.sampled_from(list(backing.waiting))))
            withdrawn += 1
        running = backing.running
        for i, one in enumerate(running):
            for other in running[i + 1 :]:
                assert not ((one.writes or other.writes) and overlap(one, other))
        # Nobody waits without a reason, and nobody was overtaken by one that it meets.
        for n, waiting in enumerate(backing.waiting):
            earlier = [*running, *list(backing.waiting)[:n]]
            assert any((waiting.writes or e.writes) and overlap(waiting, e) for e in earlier)
            later = arrivals[arrivals.index(waiting) + 1 :]
            assert not any(
                each in running and (waiting.writes or each.writes) and overlap(waiting, each)
                for each in later
            )

    assert backing.quiet
    assert len(began) == len(arrivals) - withdrawn
    assert len(set(map(id, began))) == len(began)


@given(JOBS, st.integers(0, 15), st.integers(1, 6), st.booleans())
def test_work_on_the_spot_is_allowed_where_a_job_would_begin_at_once(jobs, first, count, writes):
    """``clear`` and ``admit`` decide alike."""
    backing, began = make_backing(), []
    for each in jobs:
        backing.admit(make_job(backing, *each, lambda job: None))

    allowed = backing.clear(first, first + count - 1, writes=writes)
    backing.admit(make_job(backing, first, count, writes, began.append))

    assert allowed == bool(began)


def test_a_reader_does_not_pass_a_writer_that_waits():
    """Otherwise a stream of readers would starve it."""
    backing, began = make_backing(), []
    jobs = [make_job(backing, 0, 8, writes, began.append) for writes in (False, True, False)]

    for job in jobs:
        backing.admit(job)
    assert began == jobs[:1]
    backing.finished(jobs[0])
    assert began == jobs[:2]
    backing.finished(jobs[1])
    assert began == jobs


def test_a_job_without_sectors_meets_nobody():
    """A flush runs beside everything."""
    backing, began = make_backing(), []
    for count in (SECTORS, 0, 0):
        backing.admit(make_job(backing, 0, count, True, began.append))

    assert len(began) == 3


def test_a_job_that_runs_cannot_be_taken_back():
    """A thread cannot be stopped."""
    backing = make_backing()
    job = make_job(backing, 0, 1, True, lambda job: None)
    backing.admit(job)

    assert not backing.withdraw(job)
    backing.finished(job)
    assert backing.quiet


def test_neighbours_do_not_meet():
    """Both sides of the line: the last sector of one, the first of the other."""
    backing, began = make_backing(), []
    first = make_job(backing, 8, 8, True, began.append)

    backing.admit(first)
    for at in (7, 16):
        backing.admit(make_job(backing, at, 1, True, began.append))
    assert len(began) == 3
    backing.admit(make_job(backing, 15, 1, False, began.append))
    assert len(began) == 3


@given(st.sets(st.integers(0, SECTORS - 1)), st.integers(0, 7), st.integers(1, 8), st.sampled_from([1, 2, 8]))
def test_runs_of_blocks_cover_the_range_and_agree_with_the_sectors(mapped, first, count, per_block):
    """A block counts as mapped when any of its sectors is."""
    disk = MemoryDisk(SECTORS * 2)
    disk.mapped = mapped
    medium = BlockMedium(disk, 512 * per_block)

    runs = list(medium.mapped_runs(first, count))

    blocks = [(n, ours) for ours, start, size in runs for n in range(start, start + size)]
    assert blocks == [
        (n, any(s in mapped for s in range(n * per_block, (n + 1) * per_block)))
        for n in range(first, first + count)
    ]


@pytest.mark.parametrize("block_size", [512, 4096])
def test_blocks_are_sectors_in_bulk(block_size):
    """One block of 4096 bytes is eight sectors, in every call."""
    disk = MemoryDisk(SECTORS)
    medium = BlockMedium(disk, block_size)
    data = pattern(2 * block_size)

    assert medium.blocks == SECTORS * 512 // block_size
    medium.write(1, data)
    assert medium.read(1, 2) == data
    assert disk.content[block_size : 3 * block_size] == data
    medium.write_same(4, 2, data[:block_size])
    assert medium.read(4, 2) == data[:block_size] * 2
    medium.unmap(1, 1)
    assert medium.read(1, 2) == bytes(block_size) + data[block_size:]


@attrs.define(eq=False)
class Trouble:
    """A disk in place of the real one; knows whether it is over."""

    disk: MemoryDisk = attrs.field(factory=lambda: MemoryDisk(SECTORS))
    threads: None = None
    over: bool = False

    def calm(self) -> None:
        self.over = True


def test_commands_meet_trouble_and_the_real_disk_stays_at_hand():
    backing, first, second = make_backing(), Trouble(), Trouble()
    real = backing.disk

    backing.meet(first)
    assert backing.disk is backing.medium.disk is first.disk
    assert backing.real is real
    backing.meet(second)
    assert (first.over, second.over, backing.disk) == (True, False, second.disk)
    backing.meet(None)

    assert second.over
    assert backing.disk is backing.medium.disk is real


def test_trouble_ends_with_the_last_session():
    backing, trouble = make_backing(), Trouble()
    lanes = [backing.unit.attach(name) for name in ("a", "b")]
    backing.meet(trouble)

    backing.left(lanes[0])
    backing.left(lanes[0])  # as after a login that was not over
    assert not trouble.over
    backing.left(lanes[1])

    assert trouble.over
    assert backing.disk is backing.real
