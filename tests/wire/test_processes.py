"""Processes that are killed, stopped, told to end: who notices, and what is left."""

import os
import signal
import struct
import subprocess
import threading
import time

import pytest

from tests.support.daemon import command, daemon, start
from tests.support.eventually import alive, eventually
from tests.support.initiator import Initiator, LoginFailed
from tests.support.renting import MIB, logged_in, rent
from tests.wire.conftest import HASTY

STRANGER = "127.0.0.2"
KIBIBYTE = 1 << 10


def name(number):
    return f"iqn.1993-08.org.debian:01:n{number}"


def log_in(d, number):
    return Initiator(d.iscsi, name=name(number)).login(d.target("blank")).settle()


def overlays(d):
    return sorted(path.name for path in (d.state_dir / "overlays").rglob("d-*"))


def placed(d):
    """Initiator name -> index of its worker."""
    return {session["initiator"]: session["worker"] for session in d.ask("session.list")}


def ready_pids(d):
    return {w["index"]: w["pid"] for w in d.ask("status")["workers"] if w["state"] == "ready"}


class Load:
    """Writes, remembers what was acknowledged, and reads it back; in a thread."""

    def __init__(self, d, number):
        self.d, self.number = d, number
        self.acknowledged = {}
        self.error = None
        self.stopping = False
        self.who = log_in(d, number)
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        generation = 0
        try:
            while not self.stopping:
                generation += 1
                block = generation * 7 % 500
                data = struct.pack(">II", self.number, generation) * 512
                self.perhaps = (block, data)
                self.who.write(block * 8, data)
                self.acknowledged[block] = data
                old = generation * 13 % 500
                if old in self.acknowledged and self.who.read(old * 8, 8) != self.acknowledged[old]:
                    raise AssertionError(f"block {old} is not what it was")
        except Exception as error:
            self.error = error
        finally:
            self.who.close()

    def stop(self):
        self.stopping = True
        self.thread.join(20)

    def check(self):
        """Comes back, and finds everything; the one write that was on its way may be there or not."""
        with log_in(self.d, self.number) as who:
            for block, data in self.acknowledged.items():
                found = who.read(block * 8, 8)
                if (block, found) != self.perhaps:
                    assert found == data, f"block {block}"


@pytest.mark.parametrize(
    ("number", "seconds"), [(signal.SIGKILL, 2.0), (signal.SIGSTOP, 6.0)], ids=["killed", "stopped"]
)
def test_a_worker_that_is_lost_is_replaced_and_its_sessions_find_what_they_wrote(serve, number, seconds):
    """Acknowledged means kept, also by a process that is gone."""
    with serve() as d:
        loads = [Load(d, n) for n in range(4)]
        where = placed(d)
        assert set(where.values()) == {0, 1}
        time.sleep(0.5)
        before = ready_pids(d)
        began = time.monotonic()
        os.kill(before[0], number)
        eventually(lambda: ready_pids(d).get(0, before[0]) != before[0], seconds + 5)
        took = time.monotonic() - began
        with log_in(d, 99) as newcomer:
            newcomer.write(0, b"n" * 512)
        assert took < seconds
        for load in loads:
            if where[name(load.number)] == 0:
                load.thread.join(10)
                assert isinstance(load.error, ConnectionError)
            load.stop()
            if where[name(load.number)] == 1:
                assert load.error is None
            assert len(load.acknowledged) > 10
            load.check()
        # What nobody comes back for goes with the grace.
        time.sleep(3.2)
        eventually(lambda: d.cli("janitor", "run") and overlays(d) == [], 3)
        assert d.ask("status")["workers"][0]["restarts"] == 1


def test_sigterm_under_load_ends_everything_within_five_seconds(serve):
    with serve() as d:
        loads = [Load(d, n) for n in range(3)]
        eventually(lambda: all(len(load.acknowledged) > 10 for load in loads))
        family = d.all_pids
        assert len(family) == 4  # control, two workers, web

        assert d.stop() < 5.0

        assert d.process.returncode == 0
        assert not any(map(alive, family))
        assert overlays(d) == []
        assert not (d.state_dir / "run" / "endpoints.json").exists()
        for load in loads:
            load.stop()
            assert isinstance(load.error, ConnectionError)


def test_a_second_sigterm_changes_nothing(serve):
    with serve() as d:
        with log_in(d, 1) as who:
            who.write(0, b"x" * 512)
            who.ping(b"I know pings")  # so that the drain waits for it
            family = d.all_pids
            began = time.monotonic()
            for _ in range(3):
                d.process.send_signal(signal.SIGTERM)
                time.sleep(0.2)
            d.process.wait(10)
            assert time.monotonic() - began < 5.0
        assert d.process.returncode == 0
        assert not any(map(alive, family))
        assert overlays(d) == []


def test_whoever_knows_pings_is_asked_to_log_out_before_the_end(serve):
    """RFC 7143 §11.9: asynchronous message 1."""
    with serve() as d, log_in(d, 1) as who:
        who.ping(b"I know pings")
        d.process.send_signal(signal.SIGTERM)
        asked = who.wait_unasked()
        assert (asked.opcode, asked.bhs[36]) == (0x32, 1)
        assert who.logout() == 0
        assert who.closed_by_target()
        d.process.wait(10)


def test_when_control_is_killed_its_children_end_and_the_next_start_is_clean(serve, tmp_path):
    with serve() as d:
        with log_in(d, 1) as who:
            who.write(0, b"x" * 4096)
            family = d.all_pids
            d.process.kill()
            d.process.wait()
            # The next one does not wait for the last worker of the old one to end.
            settings = tmp_path / "scsipub.toml"
            again = start(d.state_dir, "--config", str(settings), "--workers", "2")
            try:
                eventually(lambda: not any(map(alive, family)), 5)
                with log_in(again, 1) as fresh:
                    assert fresh.read(0, 8) == bytes(4096)
                again.cli("janitor", "run")
                assert overlays(again) == []
            finally:
                assert again.stop() < 5.0
        assert not any(map(alive, family))


def test_two_daemons_on_one_directory_are_one_too_many(serve):
    with serve() as d:
        words = command("serve", "--port", "0", "--web-port", "0", "--state-dir", str(d.state_dir))
        second = subprocess.run(words, capture_output=True, text=True, timeout=20)

        assert second.returncode != 0
        assert "Another daemon runs on" in second.stdout + second.stderr
        assert "Traceback" not in second.stdout + second.stderr
        with log_in(d, 1) as who:
            assert who.read(0, 8) == bytes(4096)


SHARED = (
    HASTY
    + """
[[target]]
name = "cluster"
shared = true
luns = [{ size = "8 MiB" }]
"""
)


def test_logins_to_a_shared_target_all_reach_its_one_owner(serve):
    """From both workers, at once, and from strangers; all see one disk."""
    with serve(SHARED) as d:
        target = d.target("cluster")
        sessions, errors = {}, []

        def come(number):
            try:
                source = STRANGER if number % 2 else None
                who = Initiator(d.iscsi, name=name(number), source=source)
                sessions[number] = who.login(target, security_first=number % 3 == 0).settle()
            except Exception as error:
                errors.append(error)

        for wave in range(3):
            threads = [threading.Thread(target=come, args=(wave * 10 + n,)) for n in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(20)
        assert errors == []
        assert len(sessions) == 30
        assert len(set(placed(d).values())) == 1
        assert len(placed(d)) == 30
        assert d.ask("status")["counters"]["handed_on"] >= 10
        for number, who in sessions.items():
            who.write(number, bytes([number]) * 512)
        for who in sessions.values():
            assert who.read(0, 30) == b"".join(bytes([n]) * 512 for n in range(30))
        for who in sessions.values():
            who.close()


def test_a_shared_target_whose_owner_was_killed_finds_another_and_keeps_its_bytes(serve):
    with serve(SHARED) as d:
        target = d.target("cluster")
        with Initiator(d.iscsi, name=name(1)) as who:
            who.login(target).settle()
            who.write(0, b"kept" * 1024)
            owner = placed(d)[name(1)]
            os.kill(ready_pids(d)[owner], signal.SIGKILL)
            assert who.closed_by_target()

        def comes_back():
            try:
                with Initiator(d.iscsi, name=name(1), timeout=5) as again:
                    again.login(target).settle()
                    return again.read(0, 8)
            except LoginFailed as refused:
                assert refused.status >> 8 == 3  # "come again", never "there is no such thing"
                return None

        assert eventually(comes_back, 10) == b"kept" * 1024


def test_the_disks_of_a_shared_target_outlive_all_its_sessions(serve):
    with serve(SHARED) as d:
        target = d.target("cluster")
        with Initiator(d.iscsi, name=name(1)) as who:
            who.login(target).settle()
            who.write(0, b"kept" * 1024)
        time.sleep(3.5)
        d.cli("janitor", "run")
        with Initiator(d.iscsi, name=name(2), source=STRANGER) as other:
            other.login(target).settle()
            assert other.read(0, 8) == b"kept" * 1024


def test_workers_that_are_replaced_one_by_one_cost_nobody_a_byte_or_a_reservation(tmp_path):
    """`scsipub restart`, under twenty sessions of public disks and one of a rented one with a reservation."""
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, MIB)
        holder = logged_in(d, rented)
        key = (0xABCDEF).to_bytes(8)
        holder.command(bytes([0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0]), write=bytes(8) + key + bytes(8)).good()
        holder.command(bytes([0x5F, 1, 1, 0, 0, 0, 0, 0, 24, 0]), write=key + bytes(16)).good()
        sessions = [log_in(d, number) for number in range(20)]
        for number, who in enumerate(sessions):
            who.write(0, bytes([number + 1]) * 4096)
        before = sorted(ready_pids(d).values())
        began = time.monotonic()

        d.cli("restart")

        assert not set(before) & set(ready_pids(d).values())
        for number, who in enumerate(sessions):
            who.close()
            with log_in(d, number) as again:
                assert again.read(0, 8) == bytes([number + 1]) * 4096
        with logged_in(d, rented, name=name(99)) as stranger:
            assert stranger.command(bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), write=bytes(512)).status == 0x18
        holder.close()
        with logged_in(d, rented) as holder:
            holder.write(0, bytes(512))
        assert time.monotonic() - began < 30.0
