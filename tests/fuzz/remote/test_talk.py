"""Who waits for what over sockets, and for how long.  The clock is ours, and nobody is at the other end."""

from collections import Counter

import pytest

from fuzz.find import Find
from fuzz.hearing import HEADER, Facts
from fuzz.remote import talk
from fuzz.remote.address import Address
from fuzz.remote.entry import Entry
from fuzz.remote.ground import fresh
from fuzz.remote.talk import Speaker, Talk
from fuzz.remote.verdicts import FarJudge
from fuzz.steps import Step

FACTS = Facts(
    header_digest=False, data_digest=False, max_send=8192, max_receive=4096, first_burst=4096, max_burst=4096,
    initial_r2t=False, immediate_data=True, cid=0, cmd_sn=1, stat_sn=10,
)  # fmt: skip
PATIENCE = 3.0
ORDERED, SIMPLE = 2, 1


class Clock:
    """Stands still unless somebody waits."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


class Nobody:
    """A link to a target that says nothing."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.closed, self.sent = clock, "", b""

    def pump(self, seconds: float) -> bool:
        self.clock.now += seconds
        return False

    def answers(self) -> list[object]:
        return []

    def send(self, data: bytes) -> None:
        self.sent += data

    def close(self) -> None:
        self.closed = "by us"


@pytest.fixture
def clock(monkeypatch):
    it = Clock()
    monkeypatch.setattr(talk, "time", it)
    return it


@pytest.fixture
def stage(clock):
    """Two sessions, to one unit."""
    disks = {0: fresh(bytes(512 * 64), 512, 64)}
    it = Talk(Address("127.0.0.1", 1, "iqn.x"), disks, Counter(), Counter(), patience=PATIENCE)
    for who in (0, 1):
        judge = FarJudge(FACTS, disks, Counter(), Counter())
        it.connections[who] = Speaker(who, Nobody(clock), Entry(), judge, looked=clock.now)
    for speaker in it.connections:
        speaker.referee.siblings = [other.referee for other in it.connections]
    return it


def command(tag, cdb, *, flags, expected=0, attribute=SIMPLE):
    bhs = HEADER.pack(1, 0x80 | flags | attribute, 0, 0, 0, 0, tag, expected, 0, 0, 0, 0, 0, 0)
    return Step(bhs=bhs[:32] + cdb.ljust(16, b"\0"), number=0, more=True)


def test_a_full_window_behind_a_write_that_nobody_feeds_is_given_up_at_once(stage, clock):
    """The write of one session waits for its data; the ORDERED command of the other waits for the write:
    nothing is wrong."""
    mine, theirs = stage.connections
    write = command(1, b"\x2a\0\0\0\0\0\0\0\x02", flags=0x20, expected=1024)
    theirs.referee.said(write.bhs, clean=True)
    theirs.referee.tasks[1].ttt = 7
    stage.take(command(2, bytes(6), flags=0, attribute=ORDERED))
    began = clock.now

    stage.take(command(3, bytes(6), flags=0))

    assert clock.now - began < 2 * talk.SHORT
    assert mine.over
    assert theirs.over


def test_a_window_that_stays_closed_without_cause_is_a_find(stage, clock):
    stage.take(command(2, bytes(6), flags=0))
    began = clock.now

    with pytest.raises(Find, match="the command window stays closed"):
        stage.take(command(3, bytes(6), flags=0))

    assert PATIENCE <= clock.now - began < 2 * PATIENCE


def test_whoever_does_not_listen_for_long_may_be_dropped(stage, clock):
    """Targets ping; an initiator that answers none is gone, to them."""
    mine, theirs = stage.connections
    clock.now += talk.AWAY - 1
    stage._hear(mine, 0.0)
    clock.now += 2
    theirs.link.closed = mine.link.closed = "Connection reset by peer"

    stage._hear(theirs, 0.0)
    assert theirs.over
    with pytest.raises(Find, match="dropped without cause"):
        stage._hear(mine, 0.0)
