"""Disposable disks through the whole daemon: whose bytes are whose, how long, and how many."""

import hashlib
import itertools
import os
import struct
import time

import pytest

from tests.support.daemon import daemon
from tests.support.eventually import eventually
from tests.support.initiator import Initiator

ANN, BOB = "iqn.1993-08.org.debian:01:ann", "iqn.1993-08.org.debian:01:bob"
STRANGER = "127.0.0.2"
KIBIBYTE, MEBIBYTE = 1 << 10, 1 << 20


PEOPLE = itertools.count(1)
ours = 0


@pytest.fixture(autouse=True)
def people():
    """Every test has an Ann and a Bob of its own, so that one daemon does for many tests."""
    global ours
    ours = next(PEOPLE)


def blank(running, name=ANN, source=None, target="blank"):
    who = Initiator(running.iscsi, name=f"{name}-{ours}", source=source)
    return who.login(running.target(target)).settle()


@pytest.fixture(scope="module")
def tight(tmp_path_factory):
    """A daemon whose disks may allocate one mebibyte."""
    place = tmp_path_factory.mktemp("tight")
    settings = place / "scsipub.toml"
    settings.write_text('[limits]\noverlay_budget_bytes = "1 MiB"\n')
    with daemon(place / "state", "--config", str(settings), "--workers", "1") as d:
        yield d


def pattern(seed, sectors):
    """Every sector differs from every other, and says whose it is."""
    return b"".join(hashlib.sha256(f"{seed} {n}".encode()).digest() * 16 for n in range(sectors))


def overlays(running):
    return sorted(path.name for path in (running.state_dir / "overlays").rglob("d-*"))


def test_two_clients_never_see_each_others_bytes(running):
    with blank(running, ANN) as ann, blank(running, BOB) as bob, blank(running, ANN) as again:
        ann.write(0, pattern("ann", 256))
        assert bob.read(0, 256) == bytes(128 * KIBIBYTE)
        bob.write(100, pattern("bob", 8))
        assert ann.read(0, 256) == pattern("ann", 256)
        assert again.read(0, 256) == bytes(128 * KIBIBYTE)
        assert bob.read(100, 8) == pattern("bob", 8)


def test_the_units_of_multi_are_two_disks(running):
    with blank(running, target="multi") as ann:
        ann.settle(lun=1)
        ann.write(0, pattern("zero", 8), lun=0)
        ann.write(0, pattern("one", 8), lun=1)

        assert ann.read(0, 8, lun=0) == pattern("zero", 8)
        assert ann.read(0, 8, lun=1) == pattern("one", 8)


def test_nothing_is_made_for_who_only_reads(serve):
    with serve() as d, blank(d) as ann:
        assert ann.read(0, 2048) == bytes(MEBIBYTE)
        assert overlays(d) == []
        ann.write(0, pattern("ann", 1))
        assert len(overlays(d)) == 2  # data, and which of it counts


def test_the_disk_waits_for_its_initiator_and_for_nobody_else(running):
    """Within the grace, by name and address; what iPXE wrote, its system finds."""
    d = running
    with blank(d, ANN, "127.0.0.1") as ann:
        ann.write(7, pattern("ann", 3))
        ann.logout()
    with blank(d, BOB, "127.0.0.1") as bob:
        assert bob.read(0, 16) == bytes(8 * KIBIBYTE)
    with blank(d, ANN, STRANGER) as elsewhere:
        assert elsewhere.read(0, 16) == bytes(8 * KIBIBYTE)
    with blank(d, ANN, "127.0.0.1") as ann:
        assert ann.read(7, 3) == pattern("ann", 3)
    # Neither did the others spoil it, nor was it given away with the first return.
    with blank(d, ANN, "127.0.0.1") as ann:
        assert ann.read(7, 3) == pattern("ann", 3)


def test_a_connection_that_breaks_is_as_good_as_a_logout(running):
    d = running
    ann = blank(d)
    ann.write(0, pattern("ann", 8))
    ann.close()
    with blank(d) as again:
        assert again.read(0, 8) == pattern("ann", 8)


def test_after_the_grace_the_disk_is_gone(serve):
    with serve() as d:
        with blank(d) as ann:
            ann.write(0, pattern("ann", 8))
        assert overlays(d)
        time.sleep(2.0)
        assert overlays(d)
        time.sleep(1.0)
        eventually(lambda: d.cli("janitor", "run") and overlays(d) == [], 3)
        with blank(d) as again:
            assert again.read(0, 8) == bytes(4 * KIBIBYTE)


def test_a_returning_initiator_meets_the_same_disk_by_name(running):
    """The designation of the unit, SPC-4 §7.8.5: QEMU ends a session whose serial number has changed."""

    def serial(who):
        return bytes(who.command(bytes((0x12, 1, 0x80, 0, 255, 0)), read=255).good().data)

    d = running
    with blank(d) as ann, blank(d, BOB) as bob:
        mine, theirs = serial(ann), serial(bob)
    with blank(d) as again:
        assert serial(again) == mine != theirs


def test_past_the_budget_writes_say_no_space_and_everything_else_goes_on(tight):
    """SBC-4 §4.7.3.6: DATA PROTECT 27h/07h, which Linux shows as "no space left on device"."""
    with blank(tight) as ann:
        written = 0
        while True:
            cdb = struct.pack(">BBQIBB", 0x8A, 0, written // 512, 128, 0, 0)
            result = ann.command(cdb, write=pattern(f"at {written}", 128))
            if result.status:
                break
            written += 64 * KIBIBYTE
        assert written == MEBIBYTE
        assert (result.sense[2] & 15, result.sense[12], result.sense[13]) == (0x7, 0x27, 0x07)
        for at in range(0, written, 64 * KIBIBYTE):
            assert ann.read(at // 512, 128) == pattern(f"at {at}", 128)
        assert ann.read(written // 512, 128) == bytes(64 * KIBIBYTE)
        ann.write(0, pattern("again", 2048))
        assert ann.read(0, 2048) == pattern("again", 2048)
        listed = tight.ask("session.list")
        assert "7/2707" in listed[0]["last_error"]


def test_a_long_write_past_the_budget_spoils_nothing(tight):
    with blank(tight) as ann:
        ann.write(0, pattern("kept", 1024))
        cdb = struct.pack(">BBQIBB", 0x8A, 0, 1024, 8192, 0, 0)

        result = ann.command(cdb, write=os.urandom(4 * MEBIBYTE))

        assert result.status == 2
        assert ann.read(0, 1024) == pattern("kept", 1024)
        assert ann.ping(b"still here").data == b"still here"


def test_the_sessions_of_the_registry_say_what_they_do(running):
    d = running
    with blank(d, BOB, STRANGER) as bob:
        for lba in range(100):
            bob.write(lba * 8, pattern(f"{lba}", 8))
        bob.read(0, 800)
        (session,) = [s for s in d.cli("session", "list") if s["initiator"] == bob.name]

        assert session["source"] == STRANGER
        assert session["target"] == d.target("blank")
        assert session["worker"] in (0, 1)
        assert (session["bytes_written"], session["bytes_read"]) == (400 * KIBIBYTE, 400 * KIBIBYTE)
        assert session["operations"] >= 101
        assert session["iops"] > 0
        assert session["last_error"] == ""
        assert not session["tls"]
        bob.command(struct.pack(">BBQIBB", 0x88, 0, 1 << 40, 1, 0, 0), read=512)
        (session,) = [s for s in d.ask("session.list") if s["initiator"] == bob.name]
        assert "5/2100" in session["last_error"]


def test_a_session_that_is_kicked_ends_and_its_disk_waits(running):
    d = running
    with blank(d) as ann, blank(d, BOB) as bob:
        ann.write(0, pattern("ann", 8))
        chosen = next(s["id"] for s in d.ask("session.list") if s["initiator"] == ann.name)

        assert d.cli("session", "kick", chosen) == {"kicked": chosen}

        assert ann.closed_by_target()
        assert bob.ping(b"x").data == b"x"
    with blank(d) as again:
        assert again.read(0, 8) == pattern("ann", 8)
    with pytest.raises(RuntimeError, match="no session"):
        d.ask("session.kick", id="0123456789abcdef")


def test_totals_outlive_sessions(serve):
    with serve() as d:
        with blank(d) as ann:
            ann.write(0, pattern("ann", 8))
            ann.logout()
        counted = eventually(lambda: d.status()["sessions"] == 0 and d.status()["counters"])
        assert counted["bytes_written"] == 4 * KIBIBYTE
        assert counted["logins"] == 1
