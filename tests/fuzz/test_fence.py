"""The second opinion on persistent reservations.  SPC-4 §5.13, table 57."""

import pytest

from fuzz.fence import Fence

READ, WRITE, INQUIRY = b"\x28" + bytes(9), b"\x2a" + bytes(9), b"\x12" + bytes(5)


def out(action, kind=0):
    return bytes((0x5F, action, kind)) + bytes(7)


def keys(key, service=0, flags=0):
    return key.to_bytes(8) + service.to_bytes(8) + bytes(4) + bytes((flags, 0, 0, 0))


@pytest.fixture
def fence():
    it = Fence()
    it.done(0, out(0), keys(0, 1))
    it.done(1, out(0), keys(0, 2))
    return it


@pytest.mark.parametrize(
    ("kind", "reads", "writes"),
    [
        (1, False, True),
        (3, True, True),
        (5, False, False),
        (6, False, False),
        (7, False, False),
        (8, False, False),
    ],
)
def test_what_a_registrant_may_do_while_another_holds_a_reservation(fence, kind, reads, writes):
    fence.done(0, out(1, kind), keys(1))

    assert fence.conflict(1, READ) is reads
    assert fence.conflict(1, WRITE) is writes


@pytest.mark.parametrize(
    ("kind", "reads"), [(1, False), (3, True), (5, False), (6, True), (7, False), (8, True)]
)
def test_what_a_stranger_may_do(fence, kind, reads):
    fence.done(0, out(1, kind), keys(1))

    assert fence.conflict(2, READ) is reads
    assert fence.conflict(2, WRITE) is True
    assert fence.conflict(2, INQUIRY) is False
    assert fence.conflict(0, WRITE) is False


def test_a_reservation_ends_with_its_holder(fence):
    fence.done(0, out(1, 3), keys(1))
    fence.done(0, out(0), keys(1, 0))

    assert fence.conflict(1, WRITE) is False


def test_preempting_the_holder_takes_its_reservation_over(fence):
    fence.done(0, out(1, 3), keys(1))
    fence.done(1, out(4, 1), keys(2, 1))

    assert fence.conflict(0, WRITE) is True
    assert fence.conflict(0, READ) is False
    assert fence.must_fail(0, out(2, 1), keys(1))


@pytest.mark.parametrize("action", [1, 2, 3, 4, 5])
def test_nothing_goes_with_another_key(fence, action):
    assert fence.must_fail(0, out(action, 1), keys(2))
    assert not fence.must_fail(0, out(action, 1), keys(1))


def test_after_something_unknown_nothing_is_asked_until_the_table_is_cleared(fence):
    fence.forget()
    assert fence.conflict(1, WRITE) is None

    fence.done(0, out(3), keys(1))

    assert fence.conflict(1, WRITE) is False
