"""A rented target outlives the daemon: killed, ended, or without its database.

Source: SPC-4 §7.8.5 and §7.8.15 (designators stay the same), SBC-3 §4.10 (what was acknowledged is there).
On SQLite and on PostgreSQL; clients are our own initiator, QEMU's and libiscsi's."""

import itertools
import json
import os
import signal
import subprocess
import time

import pytest

from tests.support.daemon import Daemon, daemon, start
from tests.support.initiator import Initiator, LoginFailed
from tests.support.postgres import server
from tests.support.renting import logged_in, rent

pytestmark = pytest.mark.wire

MIB = 1 << 20
INQUIRY_PAGES = (0x80, 0x83)
_databases = itertools.count()


@pytest.fixture(scope="module")
def postgres():
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def options(request):
    """What the daemon is told of its database."""
    if request.param == "sqlite":
        return []
    running = request.getfixturevalue("postgres")
    name = f"wire{next(_databases)}"
    running.execute(f"CREATE DATABASE {name}")
    return ["--database", running.url(name)]


def who_it_is(who: Initiator, luns: int) -> list[bytes]:
    """Serial numbers and designators."""
    found = []
    for lun in range(luns):
        who.settle(lun)
        for page in INQUIRY_PAGES:
            cdb = bytes([0x12, 1, page, 0, 255, 0])
            found.append(who.command(cdb, read=255, lun=lun).data)
    return found


def kill_all(d: Daemon) -> None:
    """kill -9 of control and every worker."""
    for pid in d.all_pids:
        os.kill(pid, signal.SIGKILL)
    d.process.wait()


def pattern(seed: int) -> bytes:
    return bytes((seed + n) % 251 for n in range(64 * 1024))


def qemu_io(d: Daemon, rented: dict, *commands: str, lun: int = 0) -> str:
    host_port = d.iscsi
    url = (
        f"driver=raw,file.driver=iscsi,file.transport=tcp,file.portal={host_port},"
        f"file.target={rented['name']},file.lun={lun},file.user={rented['chap']['user']},"
        f"file.password-secret=chap,file.initiator-name=iqn.2008-11.org.linux-kvm:tests"
    )
    words = [word for command in commands for word in ("-c", command)]
    done = subprocess.run(
        [
            "qemu-io",
            "--object",
            f"secret,id=chap,data={rented['chap']['secret']}",
            "--image-opts",
            url,
            *words,
        ],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout, done.stdout
    return done.stdout


def serial_of(rented: dict, d: Daemon, lun: int) -> str:
    account = f"{rented['chap']['user']}%{rented['chap']['secret']}"
    url = f"iscsi://{account}@{d.iscsi}/{rented['name']}/{lun}"
    done = subprocess.run(
        ["iscsi-inq", "-e", "1", "-c", "128", url], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("end", ["kill", "term"])
def test_a_rented_target_is_the_same_after_the_daemon_has_ended(tmp_path, options, end):
    d = start(tmp_path, "--workers", "2", *options)
    rented = rent(d, 32 * MIB, 16 * MIB)
    with logged_in(d, rented) as who:
        before = who_it_is(who, 2)
        who.write(100, pattern(1), lun=0)
        who.write(7, pattern(2), lun=1)
        if end == "kill":
            kill_all(d)
        else:
            d.stop()

    with daemon(tmp_path, "--workers", "2", *options) as again, logged_in(again, rented) as who:
        assert who_it_is(who, 2) == before
        assert who.read(100, 128, lun=0) == pattern(1)
        assert who.read(7, 128, lun=1) == pattern(2)
        assert who.read(0, 8, lun=0) == bytes(4096)
        assert again.ask("target.show", id=rented["id"])["name"] == rented["name"]
    log = (tmp_path / "daemon.log").read_text()
    assert "[error" not in log
    assert rented["chap"]["secret"] not in log


def test_qemu_and_libiscsi_find_their_data_after_a_kill(tmp_path, options):
    d = start(tmp_path, "--workers", "2", *options)
    rented = rent(d, 32 * MIB, 16 * MIB)
    qemu_io(d, rented, "write -P 0xa5 1M 2M", "flush")
    qemu_io(
        d, rented, "write -P 0x5a 0 64k", lun=1
    )  # not flushed: the machine lives on, and so does the data
    before = [serial_of(rented, d, lun) for lun in (0, 1)]
    kill_all(d)

    with daemon(tmp_path, "--workers", "2", *options) as again:
        qemu_io(again, rented, "read -P 0xa5 1M 2M", "read -P 0 0 1M")
        qemu_io(again, rented, "read -P 0x5a 0 64k", lun=1)
        assert [serial_of(rented, again, lun) for lun in (0, 1)] == before


def test_two_sessions_share_the_disk_whichever_worker_they_land_in(tmp_path):
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, 16 * MIB)
        sessions = [
            logged_in(d, rented, name=f"iqn.1993-08.org.debian:01:{n}", isid=bytes([128, 0, 0, 0, 0, n]))
            for n in range(4)
        ]
        sessions[0].write(0, pattern(3))

        assert {session.read(0, 128) for session in sessions} == {pattern(3)}
        assert len({said["worker"] for said in d.ask("session.list")}) == 1
        for session in sessions:
            session.close()


def test_a_wrong_secret_does_not_get_in(tmp_path):
    with daemon(tmp_path, "--workers", "1") as d:
        rented = rent(d, MIB)
        other = rented | {"chap": rented["chap"] | {"secret": "x" * 16}}

        with pytest.raises(LoginFailed) as refused:
            logged_in(d, other)

        assert refused.value.status == 0x0201


def test_a_suspended_target_sends_its_sessions_away_and_takes_them_back(tmp_path):
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, MIB)
        with logged_in(d, rented) as who:
            who.write(0, pattern(4))
            d.cli("target", "suspend", rented["id"], "--reason", "unpaid")
            assert who.closed_by_target()
        with pytest.raises(LoginFailed) as refused:
            logged_in(d, rented)
        assert refused.value.status == 0x0202

        d.cli("target", "resume", rented["name"])

        with logged_in(d, rented) as who:
            assert who.read(0, 128) == pattern(4)


def test_a_disk_gets_longer_and_keeps_what_was_written(tmp_path):
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, MIB)
        with logged_in(d, rented) as who:
            before = who_it_is(who, 1)
            who.write(0, pattern(7))
            d.cli("target", "resize", rented["id"], "3 MiB")
            assert who.closed_by_target()

        with logged_in(d, rented) as who:
            assert who.capacity()[0] in (3 * MIB // 512, 3 * MIB // 512 - 1)
            assert who.read(0, 128) == pattern(7)
            who.write(3 * MIB // 512 - 128, pattern(8))
            assert who_it_is(who, 1) == before


def test_a_destroyed_target_leaves_nothing(tmp_path):
    with daemon(tmp_path, "--workers", "2") as d:
        rented = rent(d, MIB, MIB)
        with logged_in(d, rented) as who:
            who.write(0, pattern(5))
            d.cli("target", "destroy", rented["id"])
            assert who.closed_by_target()

        with pytest.raises(LoginFailed) as refused:
            logged_in(d, rented)
        assert refused.value.status == 0x0203
        assert [file for file in os.listdir(tmp_path / "overlays") if file.startswith("t-")] == []
        assert d.cli("target", "list") == []


def test_a_disk_that_is_missing_is_said_and_never_made_anew(tmp_path):
    d = start(tmp_path, "--workers", "1")
    rented = rent(d, MIB, MIB)
    d.stop()
    (data,) = (tmp_path / "overlays").glob(f"t-{rented['luns'][1]['uuid']}-*.data")
    aside = tmp_path / "aside"
    data.rename(aside)

    with daemon(tmp_path, "--workers", "1") as again:
        shown = again.ask("target.show", id=rented["id"])
        assert shown["state"] == "OFFLINE"
        assert shown["reason"] == f"LUN 1: {data.name} is missing"
        with pytest.raises(LoginFailed) as refused:
            logged_in(again, rented, patience=0.0)
        assert refused.value.status == 0x0301
        assert not data.exists()

    aside.rename(data)
    with daemon(tmp_path, "--workers", "1") as repaired:
        assert repaired.ask("target.show", id=rented["id"])["state"] == "ACTIVE"
        logged_in(repaired, rented).close()


def test_sessions_and_logins_go_on_without_the_database(tmp_path, postgres):
    name = f"wire{next(_databases)}"
    postgres.execute(f"CREATE DATABASE {name}")
    with daemon(tmp_path, "--workers", "2", "--database", postgres.url(name)) as d:
        rented = rent(d, MIB)
        with logged_in(d, rented) as who:
            postgres.kill()
            try:
                who.write(0, pattern(6))
                assert who.read(0, 128) == pattern(6)
                with pytest.raises(RuntimeError, match="unavailable"):
                    rent(d, MIB)
                with logged_in(d, rented, name="iqn.1993-08.org.debian:01:b") as other:
                    assert other.read(0, 128) == pattern(6)
            finally:
                postgres.start()
            until = time.monotonic() + 15
            while not d.status()["database"] and time.monotonic() < until:
                time.sleep(0.2)
            rent(d, MIB)


def test_a_fence_holds_after_a_kill(tmp_path, options):
    """SPC-4 §5.13.5: PERSISTENT RESERVE OUT ended with GOOD, so it is in force after a restart."""
    d = start(tmp_path, "--workers", "2", *options)
    rented = rent(d, MIB)
    key = (0xABCDEF).to_bytes(8, "big")
    with logged_in(d, rented) as who:
        register = bytes(8) + key + bytes(8)
        assert who.command(bytes([0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0]), write=register).status == 0
        reserve = key + bytes(16)
        assert who.command(bytes([0x5F, 1, 1, 0, 0, 0, 0, 0, 24, 0]), write=reserve).status == 0
        kill_all(d)

    with daemon(tmp_path, "--workers", "2", *options) as again:
        with logged_in(again, rented, name="iqn.1993-08.org.debian:01:other") as stranger:
            refused = stranger.command(bytes([0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0]), write=bytes(512))
            assert refused.status == 0x18  # RESERVATION CONFLICT
        with logged_in(again, rented) as holder:
            holder.write(0, bytes(512))
            keys = holder.command(bytes([0x5E, 0, 0, 0, 0, 0, 0, 0, 64, 0]), read=64).data
            assert keys[8:16] == key


def test_what_is_typed_to_rent_is_answered_with_what_to_type_next(tmp_path):
    with daemon(tmp_path, "--workers", "1") as d:
        d.cli("tier", "set", "home", "--budget", "64 MiB", "--luns", "2")
        d.cli("tenant", "create", "ada", "--tier", "home")
        rented = d.cli("target", "create", "ada", "--size", "1 MiB", "--lifetime", "1h", "--mutual")

        assert set(rented["commands"]) == {"open-iscsi", "qemu", "ipxe", "powershell"}
        assert all(rented["chap"]["secret"] in command for command in rented["commands"].values())
        assert rented["chap"]["secret"] not in json.dumps(d.cli("target", "list"))
        assert rented["chap"]["secret"] not in json.dumps(d.cli("target", "show", rented["id"]))
