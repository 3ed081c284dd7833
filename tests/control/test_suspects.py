"""Workers that crash over one disk: who is shut away, for how long, and who is not."""

import os
import signal

import attrs
import pytest

from scsipub.control.suspects import MOST, Suspects, suspect_of
from scsipub.iscsi.constants import LoginStatus
from scsipub.limits import DEFAULT
from supervisor.exits import Exit, ProcessExited, ProcessSignalled, Stopped
from tests.support.control_parts import keep

PLACE = (0, 1)
DISK = ("", "", "iqn.2000-01.test:disk")


def page_of(session):
    fd = os.memfd_create("page")
    os.write(fd, session.encode().ljust(16, b"\0"))
    return fd


def killed_by(number):
    return Exit("worker", ProcessSignalled(number, ()), 1.0)


def suspects(ooms=lambda: 0, **limits):
    return Suspects(attrs.evolve(DEFAULT, **limits), ooms)


@pytest.mark.parametrize(
    ("reason", "crashed"),
    [
        (ProcessSignalled(signal.SIGSEGV, ()), True),
        (ProcessSignalled(signal.SIGABRT, ()), True),
        (ProcessSignalled(signal.SIGKILL, ()), False),  # an operator, or our own heartbeat
        (ProcessSignalled(signal.SIGTERM, ()), False),
        (ProcessExited(1, ()), False),
        (Stopped(), False),
    ],
)
def test_only_a_crash_makes_a_suspect(reason, crashed):
    known = suspects()
    known.watch(PLACE, [page_of("aaaaaaaaaaaaaaaa")])

    assert known.served_by(PLACE, Exit("worker", reason, 1.0)) == ("aaaaaaaaaaaaaaaa" if crashed else "")
    assert known.served_by(PLACE, killed_by(signal.SIGSEGV)) == ""  # that was read once, and let go


def test_killed_for_want_of_memory_is_a_crash_too():
    """The kernel counts whom it has killed; nothing else tells it from ``kill -9``."""
    counted = iter([4, 4, 5])
    known = suspects(lambda: next(counted))
    for expected in ("", "aaaaaaaaaaaaaaaa"):
        known.watch(PLACE, [page_of("aaaaaaaaaaaaaaaa")])
        assert known.served_by(PLACE, killed_by(signal.SIGKILL)) == expected


@pytest.mark.parametrize("held", [b"", b"\xff" * 16, b"short"])
def test_whatever_a_worker_leaves_in_its_page_is_no_harm(held):
    """Shortened, or scribbled over, by somebody who had taken the worker over."""
    fd = os.memfd_create("page")
    os.write(fd, held)
    known = suspects()
    known.watch(PLACE, [fd])

    assert known.served_by(PLACE, killed_by(signal.SIGSEGV)) in ("", "short", "\ufffd" * 16)


def test_descriptors_that_nobody_asked_for_are_closed():
    known = suspects()
    first, second, third = page_of("a"), page_of("b"), page_of("c")
    known.watch(PLACE, [first, second])
    known.watch(PLACE, [third])
    for fd in (second, third):
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(fd)
    os.fstat(first)
    known.served_by(PLACE, killed_by(9))


def test_the_third_crash_is_once_too_often_and_the_second_is_not():
    known = suspects(poison_deaths=3, poison_seconds=600.0)

    assert [known.blame(DISK, now) for now in (0.0, 100.0)] == [False, False]
    assert not known.quarantined(DISK, 100.0)
    assert known.blame(DISK, 599.9)
    assert known.quarantined(DISK, 599.9)
    assert known.quarantined(DISK, 1199.8)
    assert not known.quarantined(DISK, 1200.0)
    assert not known.quarantined(("", "", "another"), 600.0)


def test_crashes_are_forgotten():
    known = suspects(poison_deaths=3, poison_seconds=600.0)

    assert [known.blame(DISK, now) for now in (0.0, 300.0, 600.0, 899.9)] == [False, False, False, True]


def test_the_table_is_bounded():
    known = suspects(poison_deaths=2)
    for n in range(MOST + 10):
        known.blame(("", "", str(n)), 0.0)

    assert len(known.deaths) == MOST
    assert not known.blame(("", "", "0"), 0.0)  # the oldest is forgiven
    assert known.blame(("", "", str(MOST)), 0.0)


def test_a_shared_disk_is_a_suspect_as_a_whole_and_another_with_its_initiator():
    key = ("iqn.2000-01.test:me", "192.0.2.1", "iqn.2000-01.test:disk")

    assert suspect_of(True, key) == DISK
    assert suspect_of(False, key) == key


async def test_over_a_disk_that_crashes_three_workers_the_fourth_is_not_asked(nursery, tmp_path):
    """Logins are told to come again; other initiators of the same target have other disks."""
    limits = attrs.evolve(DEFAULT, pool_reserve_bytes=0)
    house = await keep(nursery, tmp_path / "state", workers=4, limits=limits)
    source, other = "192.0.2.1", "192.0.2.2"
    for worker in range(3):
        guest = house.arrives(source, worker)
        far = house.workers[worker]
        verdict = await far.call("admit", house.ask(guest, "blank"))
        session = verdict["target"]["session"]
        house.control.suspects.watch(far.place, [page_of(session)])
        gone = house.workers[worker]
        house.control.pool.workers.remove(gone)
        await house.control._worker_down(gone, killed_by(signal.SIGSEGV))

    last = house.workers[3]
    refused = await last.call("resolve", house.ask(house.arrives(source, 3), "blank"))
    elsewhere = await last.call("resolve", house.ask(house.arrives(other, 3), "blank"))

    assert (refused["refuse"], refused["cause"]) == (LoginStatus.SERVICE_UNAVAILABLE, "quarantined")
    assert elsewhere["refuse"] is None
    assert house.control.sources.arrives(source, 0.0) == "penalty"
