"""Attempts on the whole daemon, and what becomes of the others meanwhile.

What a single part answers stands with that part; here are processes, sockets and the clock on the wall."""

import contextlib
import errno
import os
import select
import signal
import socket
import struct
import threading
import time
from pathlib import Path

import pytest

from tests.support import chap
from tests.support.daemon import daemon
from tests.support.eventually import eventually
from tests.support.initiator import Initiator, LoginFailed
from tests.support.renting import MIB, logged_in, rent, tenant

STRANGER, NEIGHBOUR = "127.0.0.2", "127.0.0.3"
LOGINS = 100  # of the neighbour: well within what one source may ask for at once
TEST_UNIT_READY = bytes(6)
NEXUS_LOSS, POWER_ON = (0x06, 0x29, 0x07), (0x06, 0x29, 0x00)


def write_16(lba, blocks):
    return struct.pack(">BBQIBB", 0x8A, 0, lba, blocks, 0, 0)


def login(d, rented, **how):
    """A session whose first command has not been asked yet."""
    who = Initiator(d.iscsi, **how)
    chap.begin(who, rented["name"])
    chap.prove(who, chap.choose(who, "7"), rented["chap"]["user"], rented["chap"]["secret"].encode())
    return who.finish_login()


def told(who):
    """The sense of the first command: key, code, qualifier."""
    sense = who.command(TEST_UNIT_READY).sense
    return sense[2] & 0x0F, sense[12], sense[13]


def test_a_login_over_ones_own_session_ends_that_first_and_is_told(tmp_path):
    """RFC 7143 §6.3.5, SAM-5 §6.3.4: the old session and its tasks are gone before the new one begins, and no
    byte of them arrives later.  Somebody of that name without the secret ends nothing."""
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, 8 * MIB)
        one = login(d, rented)
        assert told(one) == POWER_ON
        for n in range(16):
            one.start(write_16(n * 128, 128), write=bytes([n + 1]) * 65536)
        with pytest.raises(LoginFailed), contextlib.closing(Initiator(d.iscsi)) as thief:
            chap.begin(thief, rented["name"])
            chap.prove(thief, chap.choose(thief, "7"), rented["chap"]["user"], b"not the secret!!")

        again = login(d, rented)

        assert told(again) == NEXUS_LOSS
        first = again.read(0, 16 * 128)
        assert one.closed_by_target()
        for n in range(16):
            for at in range(n * 65536, (n + 1) * 65536, 512):
                assert first[at : at + 512] in (
                    bytes(512),
                    bytes([n + 1]) * 512,
                )
        assert again.read(0, 16 * 128) == first
        assert [said["initiator"] for said in d.ask("session.list")] == [again.name]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    """One worker, shared."""
    with daemon(tmp_path_factory.mktemp("single") / "state", "--workers", "1") as d:
        yield d


def test_a_worker_that_stalls_for_three_seconds_costs_nobody_a_ping(single):
    """open-iscsi gives up five seconds after a ping.  Fifty sessions under load; nobody is disconnected."""
    d = single
    with contextlib.ExitStack() as open_ones:
        sessions = [
            Initiator(d.iscsi, name=f"iqn.1993-08.org.debian:01:{n}").login(d.target("blank")).settle()
            for n in range(50)
        ]
        for who in sessions:
            open_ones.enter_context(who)
        [worker] = d.endpoints["pids"]["workers"]
        for who in sessions:
            who.start(write_16(0, 16), write=b"x" * 8192)
        os.kill(worker, signal.SIGSTOP)
        began = time.monotonic()
        try:
            for who in sessions:
                head = who.header(0x00, 0x80, who.next_tag(), immediate=True)
                struct.pack_into(">I", head, 20, 0xFFFFFFFF)
                who.send_pdu(head, b"there?")
            select.select([], [], [], 3.0)
        finally:
            os.kill(worker, signal.SIGCONT)

        answered = [who.wait_other(who._tag).data for who in sessions]
        took = time.monotonic() - began

        assert answered == [b"there?"] * 50
        assert took < 5.0
        assert d.ask("status")["sessions"] == 50
        assert d.endpoints["pids"]["workers"] == [worker]


POISON = """
import os, signal
from scsipub.scsi.unit import LogicalUnit

real = LogicalUnit.begin

def begin(self, lane, cdb, now):
    if cdb[:1] == b"\\0" and cdb[5] == 0x40:  # TEST UNIT READY with a vendor's bit in its control byte
        os.kill(os.getpid(), signal.SIGSEGV)
    return real(self, lane, cdb, now)

LogicalUnit.begin = begin
"""


def test_a_disk_over_which_workers_crash_is_shut_away_and_the_others_are_served(tmp_path):
    """A real SIGSEGV, three times, over commands to one rented target.  Its logins are told to come again;
    a neighbour, who is in the same worker each time, goes on."""
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(POISON)
    env = {"PYTHONPATH": f"{tmp_path / 'hook'}:{Path(__file__).parents[2]}"}
    with daemon(tmp_path / "state", "--workers", "1", env=env) as d:
        tenant(d)
        d.ask("tier.put", name="home", allocation_budget=64 * MIB, persistent=True, targets=5)
        poisoned, neighbour = rent(d, MIB), rent(d, MIB)
        with logged_in(d, neighbour) as who:
            who.write(0, b"kept" * 128)
        for _ in range(3):
            pid = eventually(lambda: d.ask("status")["pids"]["workers"])[0]
            bad = logged_in(d, poisoned)
            with pytest.raises(ConnectionError):
                bad.command(bytes([0, 0, 0, 0, 0, 0x40]))
            bad.close()
            eventually(lambda gone=pid: d.ask("status")["pids"]["workers"] not in ([], [gone]))
            with logged_in(d, neighbour, name="iqn.1993-08.org.debian:01:other") as who:
                assert who.read(0, 1) == b"kept" * 128

        with pytest.raises(LoginFailed) as refused:
            login(d, poisoned)
        with logged_in(d, neighbour, name="iqn.1993-08.org.debian:01:other") as who:
            assert who.read(0, 1) == b"kept" * 128

        assert refused.value.status == 0x0301
        assert "target quarantined" in d.log_text()
        [last, *_] = d.ask("target.attempts", id=poisoned["id"])["attempts"]
        assert last["cause"] == "quarantined"


def test_a_flood_of_connections_does_not_keep_others_out(single):
    """As many connections as one thread can make; a neighbour logs in all the while, for a second at most."""
    d, (host, port) = single, single.iscsi.split(":")
    over, made = threading.Event(), 0

    def flood():
        nonlocal made
        while not over.is_set():
            with contextlib.suppress(OSError), socket.socket() as sock:
                sock.bind((STRANGER, 0))
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.setblocking(False)
                made += sock.connect_ex((host, int(port))) in (0, errno.EINPROGRESS)

    thread = threading.Thread(target=flood)
    thread.start()
    took = []
    try:
        until = time.monotonic() + 1.0
        while (began := time.monotonic()) < until and len(took) < LOGINS:
            with Initiator(d.iscsi, source=NEIGHBOUR) as who:
                who.login(d.target("blank")).settle()
            took.append(time.monotonic() - began)
        eventually(lambda: made > 1000)
    finally:
        over.set()
        thread.join()

    assert max(took) < 2.0
    assert d.ask("status")["counters"]["refused"] > 100
