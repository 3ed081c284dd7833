"""Who is registered and who holds, field by field, through every end of the daemon.

Source: SPC-4 §5.13.5 (preserving reservations), §6.15 (what PERSISTENT RESERVE IN tells); what APTPL=0 means
for a daemon that ends is decided in docs/reservations.md.  On SQLite and on PostgreSQL, with real
processes."""

import itertools
import os
import signal
import sqlite3
import struct
import time

import psycopg
import pytest

from tests.guest.host import free_ports
from tests.support import chap
from tests.support.daemon import start
from tests.support.initiator import Initiator, LoginFailed
from tests.support.postgres import server

pytestmark = pytest.mark.wire

MIB = 1 << 20
A, B = "iqn.1993-08.org.debian:01:a", "iqn.1993-08.org.debian:01:b"
ONE, OTHER = bytes.fromhex("00023d000001"), bytes.fromhex("00023d000002")
# Three I_T nexuses: name, ISID, portal, key.
NEXUSES = ((A, ONE, 0, 0xA1), (A, ONE, 1, 0xA2), (B, OTHER, 1, 0xFFFFFFFFFFFFFFFF))
REGISTER, RESERVE, PREEMPT = 0, 1, 4
ALL_REGISTRANTS, REGISTRANTS_ONLY = 8, 6  # both of exclusive access
APTPL_LUN, OTHER_LUN = 0, 1
CONFLICT = 0x18
_databases = itertools.count()


@pytest.fixture(scope="module")
def postgres():
    with server() as running:
        yield running


class House:
    """A daemon with two portals that can end and begin again, over one database."""

    def __init__(self, place, url):
        self.place, self.url = place, url
        self.ports = free_ports(2)
        self.config = place / "scsipub.toml"
        portals = [f'[[portal]]\nhost = "127.0.0.1"\nport = {port}\n' for port in self.ports]
        self.config.write_text("".join(portals))
        self.begin()
        self.daemon.ask("tier.put", name="home", allocation_budget=64 * MIB, persistent=True)
        self.daemon.ask("tenant.create", name="ada", tier="home")
        luns = [{"size": MIB}] * 2
        self.rented = self.daemon.ask("target.create", tenant="ada", luns=luns, nexus="initiator-port")

    def begin(self):
        words = ["--workers", "2", "--config", str(self.config)]
        words += ["--database", self.url] if self.url else []
        self.daemon = start(self.place / "state", *words, port=None, seconds=60)

    def end(self, how):
        if how == "term":
            self.daemon.stop()
            return
        for pid in self.daemon.all_pids:
            os.kill(pid, signal.SIGKILL)
        self.daemon.process.wait()

    def fail_power(self):
        """While the daemon is down: what it wrote last was written before the machine began to run."""
        statement = "UPDATE reservations SET boot = 'an earlier one'"
        if self.url:
            with psycopg.connect(self.url, autocommit=True) as database:
                database.execute(statement)
        else:
            with sqlite3.connect(next(self.place.glob("state/*.db"))) as database:
                assert database.execute(statement).rowcount == 2

    def login(self, name, isid, portal, key=0):
        until = time.monotonic() + 20
        while True:
            who = Initiator(f"127.0.0.1:{self.ports[portal]}", name=name, isid=isid)
            try:
                account = self.rented["chap"]
                chap.begin(who, self.rented["name"])
                chap.prove(who, chap.choose(who, "7"), account["user"], account["secret"].encode())
                who.finish_login()
                return who.settle(0).settle(1)
            except (LoginFailed, ConnectionError):
                who.close()
                assert time.monotonic() < until
                time.sleep(0.1)


@pytest.fixture(params=["sqlite", "postgresql"])
def house(request, tmp_path):
    url = ""
    if request.param == "postgresql":
        running = request.getfixturevalue("postgres")
        name = f"reservations{next(_databases)}"
        running.execute(f"CREATE DATABASE {name}")
        url = running.url(name)
    made = House(tmp_path, url)
    yield made
    made.daemon.stop()


def out(who, lun, action, key, new=0, kind=0, aptpl=False):
    cdb = struct.pack(">BBB2xIx", 0x5F, action, kind, 24)
    return who.command(cdb, write=struct.pack(">QQ4xB3x", key, new, aptpl), lun=lun).status


def told(who, lun):
    """READ KEYS, READ RESERVATION, REPORT CAPABILITIES and READ FULL STATUS, byte by byte."""
    who.settle(lun)
    return [
        bytes(who.command(struct.pack(">BB5xHx", 0x5E, action, 1024), read=1024, lun=lun).good().data)
        for action in range(4)
    ]


def registered(house):
    """All three at both units; one unit is asked to survive a power loss.  Returns who is logged in."""
    them = [house.login(*nexus) for nexus in NEXUSES]
    for lun, kind in ((APTPL_LUN, REGISTRANTS_ONLY), (OTHER_LUN, ALL_REGISTRANTS)):
        for who, (*_, key) in zip(them, NEXUSES, strict=True):
            assert out(who, lun, REGISTER, 0, key, aptpl=lun == APTPL_LUN) == 0
        assert out(them[1], lun, RESERVE, 0xA2, kind=kind) == 0
    return them


def leave(them):
    for who in them:
        who.close()


@pytest.mark.parametrize("how", ["kill", "term"])
def test_everything_is_as_it_was_after_the_daemon_has_ended(house, how):
    them = registered(house)
    before = [told(them[0], lun) for lun in (APTPL_LUN, OTHER_LUN)]
    shown = house.daemon.ask("target.reservations", id=house.rented["id"])["luns"]
    leave(them)

    house.end(how)
    house.begin()

    again = house.login(*NEXUSES[0])
    stranger = house.login(B, ONE, 0)  # another nexus of a name that is registered
    assert [told(again, lun) for lun in (APTPL_LUN, OTHER_LUN)] == before
    for lun in (APTPL_LUN, OTHER_LUN):
        again.write(0, bytes(512), lun=lun)
        read = bytes([0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0])
        assert stranger.settle(lun).command(read, read=512, lun=lun).status == CONFLICT
    leave([again, stranger])
    after = house.daemon.ask("target.reservations", id=house.rented["id"])["luns"]
    for lun in (*shown, *after):
        for each in lun["registrations"]:
            del each["sessions"]
    assert after == shown


def test_a_power_loss_takes_what_did_not_ask_to_survive_it(house):
    them = registered(house)
    kept = told(them[0], APTPL_LUN)
    leave(them)

    house.end("kill")
    house.fail_power()
    house.begin()

    again = house.login(B, ONE, 0)
    assert told(again, APTPL_LUN) == kept
    keys, reservation, capabilities, status = told(again, OTHER_LUN)
    assert keys == reservation == status == bytes(8)
    assert capabilities[3] & 1 == 0  # PTPL_A
    again.write(0, bytes(512), lun=OTHER_LUN)
    again.close()
    newest, *_ = house.daemon.ask("event.list", target=house.rented["id"])["events"]
    assert newest["kind"] == "reservation.lost"


def test_what_happened_is_told_in_the_order_in_which_it_happened(house):
    them = registered(house)
    assert out(them[1], APTPL_LUN, PREEMPT, 0xA2, 0xA1, kind=REGISTRANTS_ONLY) == 0
    leave(them)

    newest, *_ = house.daemon.cli("target", "events", house.rented["id"], "--limit", "3")
    assert newest["kind"] == "reservation.preempted"
    assert newest["text"] == (
        f"LUN 0: {A},i,0x{ONE.hex()} at portal 2 preempted {A},i,0x{ONE.hex()} at portal 1 (key 0xa1)"
    )
    assert newest["data"]["by"]["principal"] == "ada"
    listed = house.daemon.cli("target", "reservations", house.rented["id"])["luns"][APTPL_LUN]
    assert [(each["key"], each["portal"], each["holds"]) for each in listed["registrations"]] == [
        ("0xa2", 2, True),
        ("0xffffffffffffffff", 2, False),
    ]
