"""Verifying clients that live through everything: they come back, and know what their disk holds.

Each is a thread with a connection, made by ``dial`` (plain, through bad weather, TLS, a WebSocket).  What was
acknowledged must be there; what was on its way when the connection went may be there.  A disposable disk is
remembered for as long as the daemon promises to keep it: within the grace, and not beyond its own end."""

import random
import struct
import threading
import time
from collections.abc import Callable

import attrs

from tests.soak.record import Record
from tests.support.initiator import Initiator, LoginFailed
from tests.support.pdus import Result

BLOCK = 8192
SECTORS = BLOCK // 512
BLOCKS = 1024  # of the first 8 MiB
DEPTH = 4
PAUSE_SECONDS = 0.02
STAMP = struct.Struct(">IIQ")
ASYNC = 0x32
UNIT_ATTENTION, ABORTED, MEDIUM, NOT_READY = 6, 0xB, 3, 2
RETRY = (0x08, 0x28, 0x40)  # BUSY, TASK SET FULL, TASK ABORTED
LOST = (OSError, LoginFailed, EOFError, AssertionError, KeyError)

Dial = Callable[[str], Initiator]  # with the initiator's name: logged in, unit attentions taken


class Gone(ConnectionError):
    """The target asked to log out, or does not answer as one."""


@attrs.define(eq=False)
class Client:
    """``lasting``: its disk outlives the daemon; ``troubled``: faults are set on its sessions."""

    record: Record
    name: str
    dial: Dial
    seed: int
    grace: float = 0.0
    lasting: bool = False
    troubled: bool = False
    lun: int = 0
    acknowledged: dict[int, int] = attrs.Factory(dict)  # block -> generation
    perhaps: dict[int, set[int]] = attrs.Factory(dict)
    unknown: bool = False  # what was not written by us since may be anything
    generation: int = 0
    operations: int = 0
    last_good: float = attrs.field(factory=time.monotonic)
    epoch: int = 0
    thread: threading.Thread = attrs.field(init=False)
    chance: random.Random = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.chance = random.Random(self.seed)
        self.thread = threading.Thread(target=self.live, name=self.name, daemon=True)

    def pattern(self, block: int, generation: int) -> bytes:
        if not generation:
            return bytes(BLOCK)
        return STAMP.pack(self.seed & 0xFFFFFFFF, generation, block) * (BLOCK // STAMP.size)

    def live(self) -> None:
        while not self.record.stopping.is_set():
            flying: dict[int, tuple[int, int]] = {}
            try:
                with self.dial(self.name) as who:
                    self._come_back()
                    self._look_again(who, flying)
                    until = time.monotonic() + self.chance.uniform(10, 40)
                    while time.monotonic() < until and not self.record.stopping.is_set():
                        self._round(who, flying)
                        self.record.stopping.wait(PAUSE_SECONDS)
                self.record.count("sessions ended by the client")
            except LOST as lost:
                self.record.count("connections lost")
                if not self.record.stopping.is_set():
                    self.record.event(f"{self.name}: {type(lost).__name__}: {str(lost)[:100]}")
                self.record.stopping.wait(0.3)
            except Exception as bug:
                self.record.error(f"{self.name}: {type(bug).__name__}: {bug}")
                return
            for block, generation in flying.values():
                if generation:
                    self.perhaps.setdefault(block, set()).add(generation)

    def _come_back(self) -> None:
        """A disposable disk may be another one by now."""
        if self.lasting:
            return
        if self.epoch != self.record.epoch:
            # The daemon was killed: its disposable disks went with it.
            self.acknowledged.clear()
            self.perhaps.clear()
            self.unknown = time.monotonic() - self.last_good < 1.0
        elif time.monotonic() - self.last_good > self.grace / 2:
            self.acknowledged.clear()
            self.perhaps.clear()
            self.unknown = True
        self.epoch = self.record.epoch
        self.last_good = time.monotonic()

    def _look_again(self, who: Initiator, flying: dict[int, tuple[int, int]]) -> None:
        """After every return: what was acknowledged is there."""
        known = sorted(self.acknowledged.keys() | self.perhaps.keys())
        for block in self.chance.sample(known, min(len(known), 200)):
            self._start(who, block, 0, flying)
            if len(flying) == DEPTH:
                self._finish(who, flying)
        self._finish(who, flying)

    def _round(self, who: Initiator, flying: dict[int, tuple[int, int]]) -> None:
        for block in self.chance.sample(range(BLOCKS), DEPTH):
            if self.chance.random() < 0.5:
                self.generation += 1
                self._start(who, block, self.generation, flying)
            else:
                self._start(who, block, 0, flying)
        self._finish(who, flying)
        while who.unasked:
            pdu = who.unasked.popleft()
            if pdu.opcode == ASYNC and pdu.bhs[36] in (1, 2, 3):
                raise Gone(f"asked to leave, event {pdu.bhs[36]}")

    def _start(self, who: Initiator, block: int, generation: int, flying: dict[int, tuple[int, int]]) -> None:
        opcode = 0x8A if generation else 0x88
        cdb = struct.pack(">BBQIBB", opcode, 0, block * SECTORS, SECTORS, 0, 0)
        if generation:
            tag = who.next_tag()
            who._tag -= 1
            flying[tag] = (block, generation)  # before it is sent: sending may fail halfway
            who.start(cdb, write=self.pattern(block, generation), lun=self.lun)
        else:
            flying[who.start(cdb, read=BLOCK, lun=self.lun)] = (block, 0)

    def _finish(self, who: Initiator, flying: dict[int, tuple[int, int]]) -> None:
        for tag in list(flying):
            result = who.finish(tag)
            block, generation = flying[tag]
            if self._good(result, block, generation):
                if generation:
                    self.acknowledged[block] = generation
                    self.perhaps.pop(block, None)
                else:
                    self._check(block, bytes(result.data))
                self.operations += 1
                self.last_good = time.monotonic()
            elif generation:
                self.perhaps.setdefault(block, set()).add(generation)
            del flying[tag]

    def _good(self, result: Result, block: int, generation: int) -> bool:
        """Whether it was done.  Some ends are no error, only no success."""
        if result.status == 0 and not result.response:
            return True
        what = "write" if generation else "read"
        if result.status in RETRY:
            self.record.count(f"status {result.status:02x}h")
            return False
        if result.status == 2 and len(result.sense) > 13:
            key, asc = result.sense[2] & 15, result.sense[12]
            self.record.count(f"sense {key:x}/{asc:02x}")
            if key in (UNIT_ATTENTION, ABORTED) or (key == MEDIUM and self.troubled):
                return False
            if key == NOT_READY:
                raise Gone("not ready")
        self.record.error(
            f"{self.name}: {what} of block {block} ended with status {result.status:02x}h "
            f"response {result.response:02x}h sense {bytes(result.sense).hex()}"
        )
        return False

    def _check(self, block: int, data: bytes) -> None:
        """Sector by sector: what was never acknowledged may have happened in part."""
        if self.unknown and block not in self.acknowledged:
            return
        may = {self.acknowledged.get(block, 0)} | self.perhaps.get(block, set())
        patterns = [self.pattern(block, generation) for generation in may]
        for at in range(0, BLOCK, 512):
            if not any(data[at : at + 512] == whole[at : at + 512] for whole in patterns):
                self.record.error(
                    f"{self.name}: block {block} sector {at // 512} may be of generation {sorted(may)}, "
                    f"has {data[at : at + 16].hex()} (seed {self.seed:08x})"
                )
                return


@attrs.define(eq=False)
class Passers:
    """Sessions that come, write, look, and go, each in another way."""

    record: Record
    dial: Callable[[str, str], Initiator]  # name, source; not logged in
    target: str
    seed: int
    thread: threading.Thread = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.thread = threading.Thread(target=self.live, name="passers", daemon=True)

    def live(self) -> None:
        chance = random.Random(self.seed)
        number = 0
        while not self.record.stopping.is_set():
            number += 1
            try:
                self._pass(chance, number)
                self.record.count("passers")
            except LOST:
                self.record.count("passers turned away")
                self.record.stopping.wait(0.2)
            except Exception as bug:
                self.record.error(f"passer {number}: {type(bug).__name__}: {bug}")
            self.record.stopping.wait(chance.uniform(0, 0.15))

    def _pass(self, chance: random.Random, number: int) -> None:
        with self.dial(f"iqn.1993-08.org.debian:01:passer-{number}", f"127.50.0.{number % 200 + 1}") as who:
            if chance.random() < 0.2:
                who.login().send_targets()
                who.logout()
                return
            who.login(self.target)
            if chance.random() < 0.2:
                return
            who.settle()
            data = chance.randbytes(512 * chance.randrange(1, 600))
            lba, count = chance.randrange(1000), len(data) // 512
            if (fresh := who.read(lba, count)) != bytes(len(data)):
                self.record.error(f"passer {number}: a fresh disk has {fresh[:16].hex()} at {lba}")
            who.write(lba, data)
            if who.read(lba, count) != data:
                self.record.error(f"passer {number}: {count} sectors at {lba} are not what was written")
            who.ping(b"?")
            if chance.random() < 0.5:
                who.logout()
