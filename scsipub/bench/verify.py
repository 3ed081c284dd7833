"""The verifying client: writes patterns, reads them back, and complains about every byte and every pause.

``python -m scsipub.bench.verify URL``.

One connection, several commands in flight, never two on one block, so that
what a block must hold is always known: the generation last acknowledged or, after a lost connection, one that
was on its way.  With ``--reconnect`` it comes back after a lost connection and first reads everything again:
what was acknowledged must be there.

Blocks not written yet are not looked at, unless ``--zeros`` says that they must be zero."""

import json
import random
import signal
import struct
import time
from typing import Any

import attrs
import click

from scsipub.bench.wire import (
    COMMAND,
    DATA_IN,
    DATA_OUT,
    NOP_IN,
    R2T,
    RESPONSE,
    Session,
    TargetError,
    Url,
)

_STAMP = struct.Struct(">IIQ")  # seed, generation, block


class Mismatch(Exception):
    """The disk does not hold what it must hold."""


@attrs.define
class Task:
    """One command in flight."""

    block: int
    generation: int  # written, or expected when reading
    writing: bool
    started: float
    data: bytearray = attrs.Factory(bytearray)


@attrs.define(eq=False)
class Verifier:
    """What the disk must hold, and the session that finds out whether it does."""

    url: Url
    name: str
    block_size: int = 4096
    blocks: int = 2048  # of block_size bytes, from the start of the unit
    depth: int = 8
    zeros: bool = False
    seed: int = 1
    source: str | None = None
    acknowledged: dict[int, int] = attrs.Factory(dict)  # block -> generation
    perhaps: dict[int, set[int]] = attrs.Factory(dict)  # block -> generations never acknowledged
    operations: int = 0
    reconnects: list[float] = attrs.Factory(list)  # seconds each took
    longest_pause: float = 0.0  # between two commands' ends; not counted across a reconnect
    longest_latency: float = 0.0
    unit_block_size: int = 512
    stopping: bool = False  # set by a signal: finish what is in flight and report
    _session: Session | None = None
    _tasks: dict[int, Task] = attrs.Factory(dict)
    _generation: int = 0
    _tag: int = 0
    _last_end: float = 0.0

    def pattern(self, block: int, generation: int) -> bytes:
        """What ``block`` holds in ``generation``; generation 0 is before the first write."""
        if not generation:
            return bytes(self.block_size)
        return _STAMP.pack(self.seed, generation, block) * (self.block_size // _STAMP.size)

    def run(self, seconds: float, reconnect_seconds: float = 0.0) -> None:
        """Verifies for ``seconds``.  Raises Mismatch, TargetError, or what the socket raised."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._open()
                if self._generation:
                    self._read_all()
                self._work(deadline)
                self._last_end = 0.0
                if self._session:
                    self._session.close()
                return
            except (ConnectionError, TimeoutError) as lost:
                if not reconnect_seconds:
                    raise
                self._forget()
                self._reopen(reconnect_seconds, lost)

    def _open(self) -> None:
        if self._session is None:
            self._session = Session.open(self.url, self.name, isid=random.getrandbits(32), source=self.source)
            count, self.unit_block_size = self._session.capacity()
            self.blocks = min(self.blocks, count * self.unit_block_size // self.block_size)

    def _here(self) -> Session:
        if self._session is None:
            raise ConnectionError("no session")
        return self._session

    def _reopen(self, seconds: float, lost: Exception) -> None:
        started = time.monotonic()
        while self._session is None:
            try:
                self._open()
            except (OSError, TargetError) as error:
                if time.monotonic() - started > seconds:
                    raise TargetError(f"not back after {seconds} s ({lost}; then {error})") from error
                time.sleep(0.05)
        self.reconnects.append(round(time.monotonic() - started, 3))

    def _forget(self) -> None:
        """The connection is gone: what was in flight may or may not have happened."""
        for task in self._tasks.values():
            if task.writing:
                self.perhaps.setdefault(task.block, set()).add(task.generation)
        self._tasks.clear()
        self._last_end = 0.0
        if self._session:
            self._session.sock.close()
        self._session = None

    def _read_all(self) -> None:
        """Everything that was ever written is looked at."""
        todo = sorted(self.acknowledged.keys() | self.perhaps.keys())
        while todo or self._tasks:
            while todo and len(self._tasks) < self.depth:
                self._start(todo.pop(), writing=False)
            self._receive()

    def _work(self, deadline: float) -> None:
        chance = random.Random(self.seed)
        while (more := time.monotonic() < deadline and not self.stopping) or self._tasks:
            busy = {task.block for task in self._tasks.values()}
            while more and len(self._tasks) < self.depth:
                block = chance.randrange(self.blocks)
                if block not in busy:
                    busy.add(block)
                    self._start(block, writing=chance.random() < 0.5)
            self._receive()

    def _start(self, block: int, *, writing: bool) -> None:
        session = self._here()
        self._tag = self._tag % 0xFFFFFF + 1
        if writing:
            self._generation += 1
        task = Task(block, self._generation if writing else 0, writing, time.monotonic())
        data = self.pattern(block, task.generation) if writing else b""
        limit = min(
            session.number("MaxRecvDataSegmentLength", 8192), session.number("FirstBurstLength", 65536)
        )
        at_once = data[:limit] if session.says("ImmediateData", "Yes") else b""
        head = bytearray(48)
        flags = 0xA1 if writing else 0xC1
        struct.pack_into(">BBHIQ", head, 0, COMMAND, flags, 0, len(at_once), session.url.lun << 48)
        struct.pack_into(">IIII", head, 16, self._tag, self.block_size, session.cmd_sn, session.exp_stat_sn)
        count = self.block_size // self.unit_block_size
        lba = block * count
        struct.pack_into(">BBQIBB", head, 32, 0x8A if writing else 0x88, 0, lba, count, 0, 0)
        session.cmd_sn += 1
        self._tasks[self._tag] = task
        session.sock.sendall(head + at_once)

    def _receive(self) -> None:
        session = self._here()
        bhs, data = session.receive()
        opcode, tag = bhs[0] & 0x3F, int.from_bytes(bhs[16:20], "big")
        if opcode == NOP_IN:
            if bhs[20:24] != b"\xff\xff\xff\xff":
                answer = b"\x40\x80" + bytes(6) + bhs[8:16] + b"\xff" * 4 + bhs[20:24]
                answer += struct.pack(">II", session.cmd_sn, session.exp_stat_sn)
                session.sock.sendall(answer.ljust(48, b"\0"))
            return
        task = self._tasks.get(tag)
        if task is None or opcode not in (RESPONSE, DATA_IN, R2T):
            raise TargetError(f"unexpected opcode {opcode:02x}h: {bhs.hex()}")
        if opcode == R2T:
            self._data_out(tag, task, bhs)
        elif opcode == DATA_IN:
            if int.from_bytes(bhs[40:44], "big") != len(task.data):
                raise Mismatch(f"Data-In at offset {bhs[40:44].hex()} after {len(task.data)} bytes")
            task.data += data
        if opcode == RESPONSE or (opcode == DATA_IN and bhs[1] & 1):
            self._end(tag, task, bhs)

    def _data_out(self, tag: int, task: Task, bhs: bytes) -> None:
        session = self._here()
        offset, count = struct.unpack_from(">II", bhs, 40)
        data = self.pattern(task.block, task.generation)
        segment = session.number("MaxRecvDataSegmentLength", 8192) & ~3
        for number, start in enumerate(range(offset, offset + count, segment)):
            end = min(start + segment, offset + count)
            head = bytearray(48)
            final = 0x80 if end == offset + count else 0
            struct.pack_into(">BBHIQI", head, 0, DATA_OUT, final, 0, end - start, session.url.lun << 48, tag)
            head[20:24] = bhs[20:24]
            struct.pack_into(">IIII", head, 28, session.exp_stat_sn, 0, number, start)
            session.sock.sendall(head + data[start:end])

    def _end(self, tag: int, task: Task, bhs: bytes) -> None:
        if bhs[3] or (bhs[0] & 0x3F == RESPONSE and bhs[2]):
            raise TargetError(f"command ended with response {bhs[2]:02x}h status {bhs[3]:02x}h")
        del self._tasks[tag]
        now = time.monotonic()
        self.operations += 1
        self.longest_latency = max(self.longest_latency, now - task.started)
        if self._last_end:
            self.longest_pause = max(self.longest_pause, now - self._last_end)
        self._last_end = now
        block = task.block
        if task.writing:
            self.acknowledged[block] = task.generation
            self.perhaps.pop(block, None)
        elif block in self.acknowledged or block in self.perhaps or self.zeros:
            self._check(block, bytes(task.data))

    def _check(self, block: int, data: bytes) -> None:
        """Sector by sector: a write that was never acknowledged may have happened in part."""
        may = {self.acknowledged.get(block, 0)} | self.perhaps.get(block, set())
        if not self.zeros and block not in self.acknowledged:
            return  # it may hold what it held before we came, and nobody knows what that was
        whole = [self.pattern(block, generation) for generation in may]
        size = self.unit_block_size
        sound = len(data) == self.block_size and all(
            any(data[at : at + size] == pattern[at : at + size] for pattern in whole)
            for at in range(0, self.block_size, size)
        )
        if not sound:
            raise Mismatch(self._describe(block, may, data))

    def _describe(self, block: int, may: set[int], data: bytes) -> str:
        return f"block {block}: may hold generation {sorted(may)}, has {len(data)} bytes, {data[:16].hex()}…"

    def as_json(self) -> dict[str, Any]:
        return {
            "operations": self.operations,
            "longest_pause": round(self.longest_pause, 4),
            "longest_latency": round(self.longest_latency, 4),
            "reconnects": self.reconnects,
            "blocks_written": len(self.acknowledged),
        }


@click.command(context_settings={"show_default": True})
@click.argument("url")
@click.option("--seconds", default=5.0)
@click.option("--depth", default=8)
@click.option("--block-size", default=4096)
@click.option("--blocks", default=2048, help="How many blocks to use.")
@click.option("--zeros", is_flag=True, help="Blocks not written yet must be zero.")
@click.option("--seed", default=1)
@click.option("--reconnect", default=0.0, help="Seconds to try again after a lost connection.")
@click.option("--initiator", default="iqn.2025-01.pub.scsipub:verify")
def main(url: str, seconds: float, reconnect: float, initiator: str, **how: Any) -> None:
    """Verifies the unit at URL; prints JSON; ends with 1 when something was wrong.  SIGINT ends it early."""
    verifier = Verifier(Url.parse(url), initiator, **how)
    error = ""

    def stop(*_: object) -> None:
        verifier.stopping = True

    signal.signal(signal.SIGINT, stop)
    try:
        verifier.run(seconds, reconnect)
    except (Mismatch, TargetError, OSError) as wrong:
        error = f"{type(wrong).__name__}: {wrong}"
    click.echo(json.dumps(verifier.as_json() | {"error": error}))
    raise SystemExit(1 if error else 0)


if __name__ == "__main__":
    main()
