"""Rented targets that change while they are in use: units come, grow and go, and time runs out.

Source: SPC-4 §6.33, SBC-3 §4.7, SAM-5 §5.11, RFC 7143 §11.9.  Clients: our initiator, libiscsi, QEMU."""

import os
import signal
import subprocess
import threading
import time

import pytest

from tests.support.daemon import Daemon, daemon, start
from tests.support.initiator import Closed, LoginFailed
from tests.support.renting import logged_in, rent

pytestmark = pytest.mark.wire

MIB = 1 << 20
SECTOR = 512
TEST_UNIT_READY = bytes(6)
REPORT_LUNS = bytes([0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0])
CAPACITY_CHANGED, LUNS_CHANGED, NO_UNIT = (6, 0x2A, 0x09), (6, 0x3F, 0x0E), (5, 0x25, 0x00)
UNIT_ATTENTION = 6
NO_ROOM = (7, 0x27, 0x07)
ASYNC_MESSAGE = 0x32


def sense(result) -> tuple[int, int, int]:
    assert result.status == 2
    return result.sense[2] & 0xF, result.sense[12], result.sense[13]


def attention(who, lun: int = 0) -> tuple[int, int, int]:
    return sense(who.command(TEST_UNIT_READY, lun=lun))


def luns(who) -> list[int]:
    data = who.command(REPORT_LUNS, read=256).good().data
    return [data[at + 1] for at in range(8, 8 + int.from_bytes(data[:4], "big"), 8)]


def url(d: Daemon, rented: dict, lun: int = 0) -> str:
    return f"iscsi://{rented['chap']['user']}%{rented['chap']['secret']}@{d.iscsi}/{rented['name']}/{lun}"


def run(*words: str) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Writer(threading.Thread):
    """Writes and reads back until it is told to stop; what it had to retry is kept."""

    def __init__(self, who, lun: int = 0) -> None:
        super().__init__()
        self.who, self.lun = who, lun
        self.met: list[tuple[int, int, int]] = []
        self.rounds = 0
        self.over = threading.Event()
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            while not self.over.is_set():
                at, data = self.rounds % 1000, bytes([self.rounds % 251]) * 4096
                cdb = bytes([0x2A, 0]) + (at * 8).to_bytes(4, "big") + bytes([0, 0, 8, 0])
                done = self.who.command(cdb, write=data, lun=self.lun)
                back = self.who.command(b"\x28" + cdb[1:], read=4096, lun=self.lun)
                for each in (done, back):
                    if each.status:
                        self.met.append(sense(each))
                if any(key != UNIT_ATTENTION for key, _, _ in self.met):
                    return
                if done.status == back.status == 0:
                    assert back.data == data
                    self.rounds += 1
        except (Closed, ConnectionError, AssertionError) as error:
            self.error = error

    def stop(self) -> "Writer":
        self.over.set()
        self.join(30)
        return self

    def wait_for(self, rounds: int) -> None:
        until = time.monotonic() + 20
        target = self.rounds + rounds
        while self.rounds < target and time.monotonic() < until and self.is_alive():
            time.sleep(0.01)


# -- size ----------------------------------------------------------------------------------------------------


def test_a_disk_gets_longer_under_a_session_that_writes(tmp_path):
    """SBC-3 §4.7: 2A/09, then the new size; the session goes on."""
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, 8 * MIB)
        with logged_in(d, rented) as who, logged_in(d, rented, name="iqn.1993-08.org.debian:01:b") as other:
            writer = Writer(who)
            writer.wait_for(50)
            d.cli("target", "resize", rented["id"], "32 MiB")
            assert attention(other) == CAPACITY_CHANGED
            assert other.capacity() == (32 * MIB // SECTOR, SECTOR)
            other.write(32 * MIB // SECTOR - 8, b"e" * 4096)
            writer.wait_for(50)
            writer.stop()

            assert writer.error is None
            assert writer.met == [CAPACITY_CHANGED]
            assert other.read(32 * MIB // SECTOR - 8, 8) == b"e" * 4096
        assert "33554432" in run("iscsi-readcapacity16", url(d, rented)).replace(",", "")


def test_a_disk_never_gets_shorter_and_says_so(tmp_path):
    with daemon(tmp_path, "--workers", "1") as d:
        rented = rent(d, 8 * MIB)
        with logged_in(d, rented) as who:
            with pytest.raises(RuntimeError, match="never shrinks"):
                d.ask("target.resize", id=rented["id"], lun=0, size=4 * MIB)
            assert who.capacity()[0] == 8 * MIB // SECTOR
        assert d.ask("target.show", id=rented["id"])["luns"][0]["size"] == 8 * MIB


def test_a_disk_that_has_grown_is_as_long_after_a_kill(tmp_path):
    """What was written before and behind it, not flushed, is there."""
    d = start(tmp_path, "--workers", "1")
    rented = rent(d, 2 * MIB)
    with logged_in(d, rented) as who:
        who.write(0, b"a" * 4096)
        d.ask("target.resize", id=rented["id"], lun=0, size=4 * MIB)
        who.settle()
        who.write(4 * MIB // SECTOR - 8, b"z" * 4096)
        for pid in d.all_pids:
            os.kill(pid, signal.SIGKILL)
        d.process.wait()

    with daemon(tmp_path, "--workers", "1") as again, logged_in(again, rented) as who:
        assert who.capacity()[0] == 4 * MIB // SECTOR
        assert who.read(0, 8) == b"a" * 4096
        assert who.read(4 * MIB // SECTOR - 8, 8) == b"z" * 4096


# -- units ---------------------------------------------------------------------------------------------------


def test_a_unit_comes_and_goes_while_others_are_in_use(tmp_path):
    """SPC-4 §6.33: 3F/0E; REPORT LUNS shows what there is; a unit that went answers 05/25/00."""
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, 8 * MIB)
        with logged_in(d, rented) as who, logged_in(d, rented, name="iqn.1993-08.org.debian:01:b") as busy:
            writer = Writer(busy)
            shown = d.cli("target", "add-lun", rented["id"], "--size", "4 MiB")
            assert [lun["lun"] for lun in shown["luns"]] == [0, 1]
            assert attention(who) == LUNS_CHANGED
            assert luns(who) == [0, 1]
            who.settle(1)
            assert who.capacity(1)[0] == 4 * MIB // SECTOR
            who.write(0, b"n" * 4096, lun=1)
            assert str(4 * MIB) in run("iscsi-readcapacity16", url(d, rented, 1))

            d.cli("target", "remove-lun", rented["id"], "1")
            assert sense(who.command(TEST_UNIT_READY, lun=1)) == NO_UNIT
            assert attention(who) == LUNS_CHANGED
            assert luns(who) == [0]
            writer.wait_for(20)
            assert writer.stop().error is None
            assert set(writer.met) == {LUNS_CHANGED}

            d.cli("target", "add-lun", rented["id"], "--size", "1 MiB")
            who.settle().settle(1)
            assert who.read(0, 8, lun=1) == bytes(4096)
        assert len([file for file in (tmp_path / "overlays").iterdir() if file.suffix == ".data"]) == 2


def test_commands_on_a_unit_that_goes_end_and_the_session_lives(tmp_path):
    """SAM-5 §5.11: a write under way gets an answer, 05/25/00 at the latest with the next."""
    with daemon(tmp_path, "--workers", "1") as d:
        rented = rent(d, 8 * MIB, 8 * MIB)
        with logged_in(d, rented) as who:
            who.settle(1)
            writer = Writer(who, lun=1)
            writer.wait_for(20)
            d.ask("lun.remove", id=rented["id"], lun=1)
            writer.join(20)

            assert not writer.is_alive()
            assert writer.error is None
            assert writer.met[-1] == NO_UNIT
            who.settle(0)
            who.write(0, bytes(4096))


def test_the_last_unit_stays_and_an_unknown_one_is_not_there(tmp_path):
    with daemon(tmp_path, "--workers", "1") as d:
        rented = rent(d, MIB)
        with pytest.raises(RuntimeError, match="only unit"):
            d.ask("lun.remove", id=rented["id"], lun=0)
        with pytest.raises(RuntimeError, match="not_found"):
            d.ask("lun.remove", id=rented["id"], lun=7)


# -- time and room -------------------------------------------------------------------------------------------


def test_time_that_runs_out_is_announced_and_ends_sessions_politely(tmp_path):
    """A warning first; then asynchronous message 1, which Linux answers with a logout; later logins 0202h."""
    with daemon(tmp_path, "--workers", "1") as d:
        rented = rent(d, 8 * MIB, lifetime_seconds=11.0)
        with logged_in(d, rented) as who:
            who.ping()  # one that knows pings knows asynchronous messages
            who.timeout = 40.0
            writer = Writer(who)
            until = time.monotonic() + 20
            while not d.ask("target.list")["targets"][0]["expiring"]:
                assert time.monotonic() < until
                time.sleep(0.2)
            assert "target.expiring" in [e["kind"] for e in d.ask("event.list")["events"]]
            writer.join(40)
            assert isinstance(writer.error, Closed | ConnectionError)
            assert [pdu.opcode for pdu in who.unasked if pdu.opcode == ASYNC_MESSAGE] == [ASYNC_MESSAGE]
        with pytest.raises(LoginFailed) as refused:
            logged_in(d, rented)
        assert refused.value.status == 0x0202
        assert d.ask("target.show", id=rented["id"])["state"] == "EXPIRED"

        shown = d.cli("target", "extend", rented["id"], "1h")

        assert (shown["state"], shown["expiring"]) == ("ACTIVE", False)
        with logged_in(d, rented) as who:
            assert len(who.read(0, 8)) == 4096


def test_a_budget_that_is_spent_is_no_space_left(tmp_path):
    """07/27/07; what has its room can be written again, and the rest read."""
    with daemon(tmp_path, "--workers", "1") as d:
        d.ask("tier.put", name="small", allocation_budget=1 * MIB, persistent=True)
        rented = rent(d, 8 * MIB, tier="small")
        with logged_in(d, rented) as who:
            for at in range(0, MIB, 64 * 1024):
                who.write(at // SECTOR, b"f" * 64 * 1024)
            cdb = bytes([0x2A, 0]) + (2 * MIB // SECTOR).to_bytes(4, "big") + bytes([0, 0, 8, 0])
            assert sense(who.command(cdb, write=bytes(4096))) == NO_ROOM
            who.write(0, b"g" * 4096)
            assert who.read(2 * MIB // SECTOR, 8) == bytes(4096)
        image = url(d, rented)
        done = subprocess.run(
            ["qemu-io", "-f", "raw", "-c", "write 4M 1M", image], capture_output=True, text=True, timeout=60
        )
        assert "No space left on device" in done.stdout + done.stderr
