"""Many idle sessions in one client process: log in, answer pings, ping when told.

Run by ``idle.py`` and ``shape.py``.  Speaks JSON lines: says {"up": n} when all are logged in; on "ping
SECONDS" sends one NOP-Out on each session, spread over so many seconds, and says {"answered": n, "slowest":
s, "lost": n}; on "more N" logs in so many more and says how many there are; ends at end of input."""

import contextlib
import json
import random
import select
import struct
import sys
import time
from collections.abc import Callable

import attrs

from scsipub.bench.wire import NOP_IN, NOP_OUT, Session, TargetError, Url

SESSIONS_OF_A_SOURCE = 150


@attrs.define(eq=False)
class Sleeper:
    """One idle session."""

    session: Session
    asked: float = 0.0  # when its NOP-Out went out; 0: none is

    def ping(self, now: float) -> None:
        head = bytearray(48)
        struct.pack_into(">BB", head, 0, NOP_OUT | 0x40, 0x80)
        struct.pack_into(">IIII", head, 16, 1, 0xFFFFFFFF, self.session.cmd_sn, self.session.exp_stat_sn)
        self.session.sock.sendall(head)
        self.asked = now

    def hear(self, now: float) -> float | None:
        """Reads one PDU; how long our ping took if this is its answer."""
        bhs, _ = self.session.receive()
        if bhs[0] & 0x3F != NOP_IN:
            raise TargetError(f"unexpected opcode {bhs[0]:02x}h")
        if bhs[20:24] != b"\xff\xff\xff\xff":  # the target's own ping
            self.answer(bhs)
            return None
        took, self.asked = now - self.asked, 0.0
        return took

    def answer(self, bhs: bytes) -> None:
        """Its own ping wants an answer."""
        if bhs[20:24] == b"\xff\xff\xff\xff":
            return
        head = b"\x40\x80" + bytes(6) + bhs[8:16] + b"\xff" * 4 + bhs[20:24]
        head += struct.pack(">II", self.session.cmd_sn, self.session.exp_stat_sn)
        self.session.sock.sendall(head.ljust(48, b"\0"))


def source_of(process: int, number: int) -> str:
    """The address of a session.  One address has 28,000 ports towards a daemon, and what the daemon grants to
    a single source: a burst of 200 connections, 256 sessions."""
    high, low = divmod(number // SESSIONS_OF_A_SOURCE, 250)
    return f"127.{process + 1}.{high}.{low + 1}"


PATIENCE = 20  # times that the daemon may turn somebody away before it is worth a word


def log_in(
    url: Url, count: int, process: int, first: int = 0, meanwhile: Callable[[], object] = bool
) -> list[Sleeper]:
    """One after the other; ``meanwhile`` is called every now and then."""
    sleepers = []
    for number in range(first, first + count):
        if number % 20 == 0:
            meanwhile()
        for attempt in range(100):
            try:
                # Every session a machine of its own.
                name = f"iqn.1993-08.org.debian:01:idle-{process}-{number}"
                source = source_of(process, number) if url.host.startswith("127.") else None
                sleepers.append(Sleeper(Session.open(url, name, isid=number + 1, source=source)))
                break
            except (OSError, TargetError) as refused:  # the daemon takes so many a second and no more
                if attempt == 99:
                    raise
                if attempt == PATIENCE:
                    print(f"session {number}: {refused}, still trying", file=sys.stderr)
                time.sleep(0.1 + random.random() / 10)
    return sleepers


class Crowd:
    """All sleepers of this process."""

    def __init__(self, sleepers: list[Sleeper]) -> None:
        self.by_fd: dict[int, Sleeper] = {}
        self.poll = select.epoll()
        self.lost = 0
        self.join(sleepers)
        self.poll.register(sys.stdin.fileno(), select.EPOLLIN)

    def join(self, sleepers: list[Sleeper]) -> None:
        for sleeper in sleepers:
            fd = sleeper.session.sock.fileno()
            self.by_fd[fd] = sleeper
            self.poll.register(fd, select.EPOLLIN)

    def listen(self, seconds: float, took: list[float]) -> bool:
        """Handles what comes within ``seconds``; True when a line of input waits."""
        for fd, _ in self.poll.poll(max(0.0, seconds), 1024):
            sleeper = self.by_fd.get(fd)
            if sleeper is None:
                return True
            try:
                answer = sleeper.hear(time.monotonic())
            except (OSError, TargetError) as gone:
                self.lost += 1
                if self.lost <= 3:  # when all are lost, three say enough
                    print(f"session lost: {gone}", file=sys.stderr)
                self.poll.unregister(fd)
                del self.by_fd[fd]
                continue
            if answer is not None:
                took.append(answer)
        return False

    def ping_all(self, seconds: float) -> dict[str, float]:
        took: list[float] = []
        everybody = list(self.by_fd.values())
        started = time.monotonic()
        for number, sleeper in enumerate(everybody):
            due = started + seconds * number / len(everybody)
            while (early := due - time.monotonic()) > 0:
                self.listen(early, took)
            with contextlib.suppress(OSError):
                sleeper.ping(time.monotonic())
            if number % 50 == 0:
                self.listen(0, took)
        deadline = time.monotonic() + 10
        while len(took) < len(self.by_fd) and time.monotonic() < deadline:
            self.listen(0.1, took)
        p99 = sorted(took)[len(took) * 99 // 100] if took else 0.0
        return {"answered": len(took), "slowest": max(took, default=0.0), "p99": p99, "lost": self.lost}


def main(url: str, count: str, process: str) -> None:
    crowd = Crowd(log_in(Url.parse(url), int(count), int(process)))
    made = int(count)
    print(json.dumps({"up": len(crowd.by_fd)}), flush=True)
    while True:
        if not crowd.listen(60, []):
            continue
        line = sys.stdin.readline().split()
        if not line:
            return
        if line[0] == "more":
            # Those who are there already must answer pings: who does not is closed after a minute.
            crowd.join(log_in(Url.parse(url), int(line[1]), int(process), made, lambda: crowd.listen(0, [])))
            made += int(line[1])
            print(json.dumps({"up": len(crowd.by_fd)}), flush=True)
            continue
        print(json.dumps(crowd.ping_all(float(line[1]))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
