"""One initiator that behaves as badly as it can, in a process of its own, until it is told to stop.

    python -m tests.load.pathological KIND HOST:PORT TARGET

Run by ``beside.py``.  Each kind is a function that does one round of its mischief and is called again and
again.  What the target does about it is counted and said at the end, as JSON.  It speaks from addresses of
its own, so that the target's bounds for one source hold for it."""

import itertools
import json
import os
import random
import select
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable

from tests.load.garbage import BEFORE_LOGIN
from tests.support.initiator import Initiator, LoginFailed
from tests.support.pdus import COMMAND, NO_TAG, NOP_OUT, TASK

KIB, MIB = 1 << 10, 1 << 20
READ_16_MIB = struct.pack(">BBQIBB", 0x88, 0, 0, 16 * MIB // 512, 0, 0)
WRITE_1_MIB = struct.pack(">BBQIBB", 0x8A, 0, 0, MIB // 512, 0, 0)
WRITE_4_KIB = struct.pack(">BBQIBB", 0x8A, 0, 64, 8, 0, 0)
HELD_SECONDS = 2.0  # how long something is held before the next round
Mischief = Callable[["Place"], None]
KINDS: dict[str, Mischief] = {}


class Stop(Exception):
    """The one who started us has heard enough."""


class Place:
    """Where it happens, and how it was taken."""

    def __init__(self, address: str, target: str, subnet: int) -> None:
        self.address, self.target, self.subnet = address, target, subnet
        self.chance = random.Random(7)
        self.rounds = 0
        self.told: Counter[str] = Counter()
        self.numbers = itertools.count(1)

    def look(self, seconds: float = 0.0) -> None:
        """Raises Stop when it is over."""
        if select.select([sys.stdin], [], [], seconds)[0]:
            raise Stop

    def source(self, many: int = 1) -> str:
        return f"127.{self.subnet}.0.{next(self.numbers) % many + 1}"

    def connect(self, many: int = 1) -> Initiator:
        name = f"iqn.1993-08.org.debian:01:bad-{next(self.numbers)}"
        return Initiator(self.address, name=name, timeout=5, source=self.source(many))

    def log_in(self, many: int = 1, **keys: str) -> Initiator:
        who = self.connect(many)
        try:
            return who.login(self.target, **keys).settle()
        except BaseException:
            who.close()
            raise


def kind(mischief: Mischief) -> Mischief:
    KINDS[mischief.__name__.replace("_", " ")] = mischief
    return mischief


def drain(who: Initiator) -> int:
    """Takes what has come, and looks at nothing."""
    taken = 0
    try:
        while piece := who.sock.recv(MIB):
            taken += len(piece)
    except BlockingIOError:
        return taken
    raise ConnectionError("closed")


def pour(place: Place, who: Initiator, blast: bytes, seconds: float, *, reading: bool) -> None:
    """Sends the same again and again, as fast as it is taken."""
    until = time.monotonic() + seconds
    view = memoryview(blast)
    at = 0
    who.sock.setblocking(False)
    while time.monotonic() < until:
        place.look()
        try:
            at += who.sock.send(view[at:])
        except BlockingIOError:
            select.select([who.sock] if reading else [], [who.sock], [], 0.05)
        if at == len(view):
            at = 0
            place.rounds += 1
        if reading:
            drain(who)


@kind
def garbage(place: Place) -> None:
    """Connection after connection with something that is not iSCSI."""
    mistake = place.chance.choice(list(BEFORE_LOGIN.values()))
    with place.connect(50) as who:
        mistake(who, place.chance)


@kind
def one_byte_segments(place: Place) -> None:
    """Writes of 4 KiB, byte by byte."""
    with place.log_in() as who:
        head = who.header(COMMAND, 0xA1, 1, immediate=True)
        head[0] = COMMAND
        while True:
            head[16:20] = place.chance.randbytes(3) + b"\1"
            struct.pack_into(">III", head, 20, 4 * KIB, who.cmd_sn, who.exp_stat_sn)
            who.cmd_sn += 1
            head[5:8] = (4 * KIB).to_bytes(3, "big")
            head[32:48] = WRITE_4_KIB
            for byte in bytes(head) + bytes(4 * KIB):
                who.sock.send(bytes((byte,)))
                place.look()
            who.recv_pdu()
            place.rounds += 1


@kind
def never_reads(place: Place) -> None:
    """Asks for as much as the window allows and reads nothing."""
    with place.connect(100) as who:
        who.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * KIB)
        who.login(place.target).settle()
        for _ in range(32):
            who.start(READ_16_MIB, read=16 * MIB)
        place.look(HELD_SECONDS)


@kind
def ping_flood(place: Place) -> None:
    """NOP-Outs with 4 KiB each, as fast as they are answered."""
    with place.log_in() as who:
        head = who.header(NOP_OUT, 0x80, 9, immediate=True)
        struct.pack_into(">I", head, 20, NO_TAG)
        head[5:8] = (4 * KIB).to_bytes(3, "big")
        pour(place, who, (bytes(head) + bytes(4 * KIB)) * 32, 20, reading=True)


@kind
def task_management_flood(place: Place) -> None:
    """LUN resets and aborted task sets, as fast as they are answered."""
    with place.log_in() as who:
        blast = b""
        for function in (2, 5, 4, 1) * 16:
            head = who.header(TASK, 0x80 | function, 9, immediate=True)
            struct.pack_into(">I", head, 20, NO_TAG)
            blast += bytes(head)
        pour(place, who, blast, 20, reading=True)


@kind
def login_storm(place: Place) -> None:
    """Logs in, logs out, from two hundred addresses."""
    with place.connect(200) as who:
        who.login(place.target)
        who.logout()


@kind
def transfers_never_served(place: Place) -> None:
    """32 writes of a megabyte that wait for data which does not come; session beside session."""
    held = []
    try:
        for _ in range(16):
            held.append(who := place.log_in(100, InitialR2T="Yes", ImmediateData="No"))
            who.auto_r2t = False
            for _ in range(32):
                who.start(WRITE_1_MIB, write=bytes(MIB))
            place.rounds += 1
        place.look(HELD_SECONDS)
    finally:
        for who in held:
            who.close()


@kind
def huge_bursts(place: Place) -> None:
    """Reads of 16 MiB and writes of 8 MiB, several at once, as fast as it goes."""
    with place.log_in() as who:
        cdb = struct.pack(">BBQIBB", 0x8A, 0, 0, 8 * MIB // 512, 0, 0)
        data = os.urandom(8 * MIB)
        while True:
            place.look()
            tags = [who.start(READ_16_MIB, read=16 * MIB) for _ in range(4)]
            tags += [who.start(cdb, write=data) for _ in range(2)]
            for tag in tags:
                place.look()
                who.finish(tag)
                place.rounds += 1


@kind
def stalled_window(place: Place) -> None:
    """One CmdSN is left out: what comes behind it must wait, 192 KiB with each command; in many sessions."""
    held = []
    data = bytes(192 * KIB)
    cdb = struct.pack(">BBQIBB", 0x8A, 0, 0, len(data) // 512, 0, 0)
    try:
        for _ in range(16):
            held.append(who := place.log_in(100))
            who.cmd_sn += 1
            for _ in range(31):
                who.start(cdb, write=data)
            who.ping()
            place.rounds += 1
            place.look()
        place.look(HELD_SECONDS)
    finally:
        for who in held:
            who.close()


@kind
def slow_reader(place: Place) -> None:
    """Asks for 16 MiB at once, again and again, and takes 64 KiB a second."""
    with place.connect(100) as who:
        who.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 * KIB)
        who.login(place.target).settle()
        for _ in range(8):
            who.start(READ_16_MIB, read=16 * MIB)
        for _ in range(40):
            who.sock.recv(6 * KIB)
            place.rounds += 1
            place.look(0.1)


def main(what: str, address: str, target: str) -> None:
    # What one kind is refused for must not befall the next.
    place = Place(address, target, 100 + list(KINDS).index(what))
    mischief = KINDS[what]
    while True:
        try:
            place.look()
            mischief(place)
            place.rounds += 1
            place.told["done"] += 1
        except Stop:
            break
        except LoginFailed as refused:
            place.told[f"login {refused.status:04x}"] += 1
        except (OSError, KeyError, ValueError) as ended:
            place.told[type(ended).__name__] += 1
            time.sleep(0.01)
    print(json.dumps({"rounds": place.rounds, "told": place.told}))


if __name__ == "__main__":
    main(*sys.argv[1:])
