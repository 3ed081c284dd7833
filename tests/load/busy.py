"""Many busy sessions in one client process: 4 KiB at a time, one command under way on each.

Run by ``shape.py`` and ``beside.py``.  Speaks JSON lines: says {"up": n} when all are logged in; on "run
SECONDS PACE" works for so long, each session PACE commands a second (0: as fast as answered), and says how
many commands there were and how long they took; ends at end of input."""

import heapq
import json
import random
import select
import struct
import sys
import time

import attrs

from scsipub.bench.wire import COMMAND, DATA_IN, NOP_IN, RESPONSE, TargetError, Url
from tests.load.sleepers import Sleeper, log_in

BLOCK = 4096
SPAN = 16 * 1024 * 1024  # of the disk
WRITES_PERCENT = 30


@attrs.define(eq=False)
class Worker:
    """One session, and the command it waits for."""

    sleeper: Sleeper
    asked: float = 0.0
    due: float = 0.0
    payload: bytes = attrs.field(factory=lambda: random.randbytes(BLOCK))

    def ask(self, chance: random.Random, now: float) -> None:
        session = self.sleeper.session
        lba = chance.randrange(SPAN // BLOCK) * (BLOCK // 512)
        writes = chance.randrange(100) < WRITES_PERCENT
        head = bytearray(48)
        flags, length = (0xA1, BLOCK) if writes else (0xC1, 0)
        struct.pack_into(">BBHIQ", head, 0, COMMAND, flags, 0, length, session.url.lun << 48)
        struct.pack_into(">IIII", head, 16, 1, BLOCK, session.cmd_sn, session.exp_stat_sn)
        struct.pack_into(">BBIBHB", head, 32, 0x2A if writes else 0x28, 0, lba, 0, BLOCK // 512, 0)
        session.cmd_sn = session.cmd_sn + 1 & 0xFFFFFFFF
        session.sock.sendall(head + (self.payload if writes else b""))
        self.asked = now

    def hear(self, now: float) -> float | None:
        """Reads one PDU; how long the command took if this is its end."""
        session = self.sleeper.session
        bhs, _ = session.receive()
        opcode = bhs[0] & 0x3F
        if opcode == NOP_IN:
            self.sleeper.answer(bhs)
            return None
        if opcode == RESPONSE or (opcode == DATA_IN and bhs[1] & 1):
            if bhs[3] or (opcode == RESPONSE and bhs[2]):
                raise TargetError(f"command ended with response {bhs[2]:02x}h status {bhs[3]:02x}h")
            took, self.asked = now - self.asked, 0.0
            return took
        if opcode != DATA_IN:
            raise TargetError(f"unexpected opcode {opcode:02x}h")
        return None


def percentiles(took: list[float]) -> dict[str, float]:
    """Seconds: median, p99, and the longest."""
    took = sorted(took) or [0.0]
    return {
        "median": took[len(took) // 2],
        "p99": took[min(len(took) - 1, len(took) * 99 // 100)],
        "longest": took[-1],
    }


class Crew:
    """All of them."""

    def __init__(self, workers: list[Worker]) -> None:
        self.by_fd = {worker.sleeper.session.sock.fileno(): worker for worker in workers}
        self.poll = select.epoll()
        self.chance = random.Random(1)
        self.lost = 0
        for fd in self.by_fd:
            self.poll.register(fd, select.EPOLLIN)
        self.poll.register(sys.stdin.fileno(), select.EPOLLIN)

    def run(self, seconds: float, pace: float) -> dict[str, float]:
        """Everybody works; whoever is answered waits for its next turn."""
        took: list[float] = []
        now = time.monotonic()
        end = now + seconds
        gap = 1 / pace if pace else 0.0
        turns = [(now + self.chance.random() * gap, fd) for fd in self.by_fd]
        heapq.heapify(turns)
        waiting = 0
        while now < end or (waiting and now < end + 10):
            while turns and turns[0][0] <= now < end:
                due, fd = heapq.heappop(turns)
                if worker := self.by_fd.get(fd):
                    worker.due = max(due + gap, now)  # who is late does not catch up
                    worker.ask(self.chance, time.monotonic())
                    waiting += 1
            patience = min(end, turns[0][0]) - now if turns and now < end else 0.1
            for fd, _ in self.poll.poll(max(0.0, patience), 256):
                if (worker := self.by_fd.get(fd)) is None:
                    continue
                try:
                    answer = worker.hear(time.monotonic())
                except (OSError, TargetError) as gone:
                    print(f"session lost: {gone}", file=sys.stderr)
                    self.lost += 1
                    waiting -= bool(worker.asked)
                    self.poll.unregister(fd)
                    del self.by_fd[fd]
                    continue
                if answer is not None:
                    took.append(answer)
                    waiting -= 1
                    heapq.heappush(turns, (worker.due, fd))
            now = time.monotonic()
        return {
            "operations": len(took),
            "iops": len(took) / seconds,
            "lost": self.lost,
            "unanswered": waiting,
        } | percentiles(took)

    def rest(self) -> None:
        """Until a line of input waits; pings are answered."""
        while True:
            for fd, _ in self.poll.poll(60, 256):
                worker = self.by_fd.get(fd)
                if worker is None:
                    return
                try:
                    worker.hear(time.monotonic())
                except (OSError, TargetError):
                    self.lost += 1
                    self.poll.unregister(fd)
                    del self.by_fd[fd]


def main(url: str, count: str, process: str) -> None:
    crew = Crew([Worker(sleeper) for sleeper in log_in(Url.parse(url), int(count), int(process))])
    print(json.dumps({"up": len(crew.by_fd)}), flush=True)
    while True:
        crew.rest()
        line = sys.stdin.readline().split()
        if not line:
            return
        print(json.dumps(crew.run(float(line[1]), float(line[2]))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
