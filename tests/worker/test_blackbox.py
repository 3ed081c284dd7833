"""The black box: what control can read after a worker has died."""

import os

from scsipub.scsi.unit import LogicalUnit
from scsipub.worker.blackbox import NOBODY, BlackBox, name_of


def seen(box):
    """As control sees it: through the descriptor."""
    return os.pread(box.fd, 16, 0)


def test_a_fresh_one_names_nobody():
    assert seen(BlackBox()) == NOBODY


def test_a_name_has_the_length_that_there_is_room_for():
    assert [len(name_of(session)) for session in ("", "abc", "0123456789abcdef", "0123456789abcdef0")] == [
        16
    ] * 4


async def test_it_names_the_session_that_is_being_served_and_nobody_afterwards(bench, monkeypatch):
    told = []
    real = LogicalUnit.begin

    def begin(self, lane, cdb, now):
        told.append(seen(bench.worker.serving))
        return real(self, lane, cdb, now)

    one, other = await bench.open(), await bench.open()
    monkeypatch.setattr(LogicalUnit, "begin", begin)
    for peer in (other, one):
        await peer.command(b"\x12\0\0\0\xff\0", read=True, expected_data_transfer_length=255)
        await peer.hear()

    assert told == [b"%016x" % 2, b"%016x" % 1]
    assert seen(bench.worker.serving) == NOBODY
