"""Scenes: a few steps that belong together, because single dice would hardly ever throw them in a row.

Each is drawn by the liar's dice and is steps like any others, so it can be shrunk and replayed."""

import random
import struct
from collections.abc import Callable
from typing import Any, Protocol

from fuzz import cdbs
from fuzz.steps import Step, fill, say
from scsipub.iscsi import pdu

_COMMAND = struct.Struct(">BB2xIQIII4x16s")
READS = (0x28, 0x28, 0x28, 0x88, 0x88, 0x08, 0xA8)
WRITES = (0x2A, 0x2A, 0x2A, 0x8A, 0x8A, 0x0A, 0xAA)
# What writes in a thread: whole, or after a look at what is there.
SLOW = (0x2A, 0x8A, 0x2E, 0x9C, 0x9C, 0x89, 0x89, 0x8B, 0x93, 0x42)


class Player(Protocol):
    """What a scene needs of the liar."""

    dice: random.Random
    units: tuple[tuple[int, int, int], ...]

    def next_tag(self) -> int: ...
    def facts(self, who: int) -> Any: ...
    def talks(self, who: int) -> bool: ...
    def command(self, who: int) -> Step: ...
    def order(self, who: int, lun: int, order: cdbs.Order) -> Step: ...


def volley(liar: Player, who: int) -> list[Step]:
    """What a busy initiator says in one breath: short reads and writes, one behind the other."""
    dice, facts = liar.dice, liar.facts(who)
    writes = facts.immediate_data and facts.first_burst >= 4096
    steps = []
    for _ in range(16):
        blocks, roll = (1, 2, 8)[dice.randrange(3)], dice.randrange(1 << 30)
        first, writing = roll % (1024 - blocks), writes and roll & 0x100000
        size = blocks * 512
        cdb = cdbs.block_cdb(0x2A if writing else 0x28, first, blocks)
        header = _COMMAND.pack(1, 0xA1 if writing else 0xC1, 0, 0, liar.next_tag(), size, 0, cdb)
        steps.append(Step(bhs=header, who=who, seed=roll, length=size if writing else 0, number=0, more=True))
    steps[-1].more = False
    return steps


def fencing(liar: Player, who: int) -> list[Step]:
    """What clusters do: one registers and reserves, then both try what they may."""
    dice = liar.dice
    lun, size, blocks = liar.units[0]
    if not _room(liar, who, 24):
        return [liar.command(who)]
    key, kind = dice.choice((1, 2)), dice.choice((1, 3, 5, 6, 7, 8))
    steps = []
    for action, theirs in ((6, 0), (1, key), (dice.choice((1, 2, 3, 4, 5)), key)):
        if action == 6:
            theirs, mine = 0, key
        else:
            mine = dice.choice((0, 1, 2))
        data = theirs.to_bytes(8) + mine.to_bytes(8) + bytes(8)
        cdb = bytes((0x5F, action, kind)) + bytes(2) + (24).to_bytes(4) + b"\0"
        steps.append(liar.order(who, lun, cdbs.Order(cdb.ljust(16, b"\0"), 24, writes=True, data=data)))
        if action == 1:
            for other in (1 - who, who, 1 - who):
                if liar.talks(other):
                    opcode = dice.choice((*READS, *WRITES))
                    steps.append(liar.order(other, lun, cdbs.block_order(dice, opcode, blocks, size)))
    return steps[: dice.choice((2, 4, 5, 6))]


def aborting(liar: Player, who: int) -> list[Step]:
    """A write whose thread is slow is aborted; what lies there is read before the thread comes back, and
    after."""
    dice = liar.dice
    lun, size, blocks = liar.units[0]
    first = dice.randrange(blocks)
    write, before = _slow_write(dice, first, size)
    if not _room(liar, who, write.expected):
        return [liar.command(who)]
    look = cdbs.Order(cdbs.block_cdb(0x28, first, 1), size, reads=True)
    steps = [liar.order(who, lun, before)] if before is not None else []
    steps.append(Step("hold", n=1))
    steps.append(liar.order(who, lun, write))
    abort = pdu.TaskManagementRequest(
        immediate=True, function=dice.choice((1, 1, 2, 5)), initiator_task_tag=liar.next_tag(), lun=lun << 48,
        referenced_task_tag=int.from_bytes(steps[-1].bhs[16:20]),
    )  # fmt: skip
    steps += [say(abort, who=who), liar.order(who, lun, look)]
    steps += [Step("work", n=dice.randrange(2)), liar.order(who, lun, look)]
    return [*steps, Step("hold", n=0)]


def _slow_write(dice: random.Random, first: int, size: int) -> tuple[cdbs.Order, cdbs.Order | None]:
    """A write of one block that takes a thread, and a write that must have gone before."""
    opcode, before = dice.choice(SLOW), None
    if opcode == 0x42:
        extents = struct.pack(">QI4x", first, 1)
        data = struct.pack(">HH4x", 6 + len(extents), len(extents)) + extents
        return cdbs.Order(struct.pack(">B6xHx6x", opcode, len(data)), len(data), writes=True, data=data), None
    cdb = cdbs.block_cdb(
        opcode, first, 1, 8 if opcode in (0x2A, 0x8A, 0x9C, 0x8B) and dice.random() < 0.5 else 0
    )
    if opcode == 0x89:
        there = fill(dice.randrange(1, 1 << 30), size)
        before = cdbs.Order(cdbs.block_cdb(0x2A, first, 1), size, writes=True, data=there)
        return cdbs.Order(
            cdb, 2 * size, writes=True, data=there + fill(dice.randrange(1, 1 << 30), size)
        ), before
    return cdbs.Order(cdb, size, writes=True), before


def comparing(liar: Player, who: int) -> list[Step]:
    """COMPARE AND WRITE of blocks that are known, or differ in one bit somewhere; then a look.

    One block is what many targets bound it to, ours among them."""
    dice = liar.dice
    lun, size, blocks = liar.units[0]
    count = dice.choice((1, 1, 1, 1, 2, 3, 8))
    if not _room(liar, who, 2 * count * size) or count > blocks:
        return [liar.command(who)]
    first = dice.randrange(blocks - count + 1)
    there = fill(dice.randrange(1, 1 << 30), count * size)
    expected = bytearray(there)
    if dice.random() < 0.7:
        expected[dice.randrange(len(expected))] ^= 1 << dice.randrange(8)
    data = bytes(expected) + fill(dice.randrange(1, 1 << 30), count * size)
    before = cdbs.Order(cdbs.block_cdb(0x2A, first, count), len(there), writes=True, data=there)
    compare = cdbs.Order(cdbs.block_cdb(0x89, first, count), len(data), writes=True, data=data)
    look = cdbs.Order(cdbs.block_cdb(0x28, first, count), len(there), reads=True)
    return [liar.order(who, lun, order) for order in (before, compare, look)]


def _room(liar: Player, who: int, size: int) -> bool:
    """May so many bytes come with their command?"""
    facts = liar.facts(who)
    return facts.immediate_data and not facts.discovery and min(facts.first_burst, facts.max_send) >= size


# (a roll beyond this, and none beyond those before, plays it)
SCENES: tuple[tuple[float, Callable[[Player, int], list[Step]]], ...] = (
    (0.94, volley), (0.93, fencing), (0.92, aborting), (0.91, comparing),
)  # fmt: skip
