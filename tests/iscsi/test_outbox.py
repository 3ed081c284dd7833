"""The outbox: what goes in comes out in that order, once."""

from hypothesis import given
from hypothesis import strategies as st

from scsipub.iscsi.outbox import Outbox

PIECES = st.lists(st.binary(max_size=40))


def contents(segments):
    return b"".join(bytes(each) for each in segments)


@given(st.lists(PIECES, max_size=4))
def test_what_goes_in_comes_out_in_order_and_only_once(turns):
    """Whether it fits the arena or not, and from turn to turn."""
    outbox = Outbox(64)

    for pieces in turns:
        for piece in pieces:
            outbox.add(piece)
        assert outbox.queued == sum(map(len, pieces))
        assert contents(outbox.take()) == contents(pieces)
        assert outbox.queued == 0
        assert outbox.take() == []


def test_bytes_leave_as_few_segments():
    """One system call for many answers."""
    outbox = Outbox(1024)
    for n in range(10):
        outbox.add(bytes([n]))

    assert len(outbox.take()) == 1


def test_hot_code_may_pack_straight_into_the_arena():
    outbox = Outbox(64)
    outbox.add(b"before")
    outbox.view[outbox.used : outbox.used + 4] = b"this"
    outbox.used += 4
    outbox.add(b"after")

    assert contents(outbox.take()) == b"beforethisafter"


def test_the_arena_is_filled_to_its_last_byte():
    outbox = Outbox(8)
    outbox.add(b"12345678")
    assert outbox.elsewhere == 0
    outbox.add(b"9")
    assert outbox.elsewhere == 1

    assert contents(outbox.take()) == b"123456789"


def test_what_did_not_fit_leaves_no_copy_of_itself_in_the_next_turn():
    """The next session's answers begin at the front, with its own bytes."""
    outbox = Outbox(16)
    outbox.add(b"A" * 40)
    outbox.take()
    outbox.add(b"B" * 4)

    assert contents(outbox.take()) == b"BBBB"
