"""Rules: which command meets which fault.

Source: SAM-5 §5.3.1 (BUSY, TASK SET FULL), SPC-4 §4.5 (sense data), SBC-4 (medium errors).  Pure: time is an
argument, chance comes from a seed.  Knows the table of commands for its names, and no session.

A rule is written as words, ``medium-error opcode=READ(10) lba=100-199 p=0.5``, or as JSON.  The same seed and
the same commands give the same faults."""

import enum
import math
import re
from collections import deque
from collections.abc import Iterable
from typing import Any

import attrs

from scsipub.faults.written import Dice, Written, chance, count, count_or_none, delay, moment, span
from scsipub.scsi.commands import COMMANDS

MOST_EVENTS = 1000  # remembered; the oldest goes first
# Operation codes that are one command; of the others only the number can be given.
NAMES = {row.name: row.opcode for row in COMMANDS.values() if row.action is None}


class Fault(enum.StrEnum):
    """What can be done to a command."""

    DELAY = "delay"  # it begins ``seconds`` later
    MEDIUM_ERROR = "medium-error"  # CHECK CONDITION, 03/11/00 reading, 03/0C/00 otherwise
    BUSY = "busy"  # status 08h
    TASK_SET_FULL = "task-set-full"  # status 28h
    DROP_RESPONSE = "drop-response"  # it is done, and nobody says so
    DIGEST_ERROR = "digest-error"  # one bit of what is sent back is wrong
    CUT = "cut"  # the connection is closed instead


def _opcodes(value: object) -> frozenset[int]:
    """``READ(10)``, ``28h``, ``0x28``, ``40``, several with commas, or a list of these."""
    words = value.split(",") if isinstance(value, str) else value
    if not isinstance(words, Iterable):
        words = [words]
    return frozenset(_opcode(word) for word in words)


def _opcode(word: object) -> int:
    text = str(word).strip().upper().replace("_", " ")
    named = re.fullmatch(r"([A-Z ]+?) ?\(?(6|10|12|16|32)?\)?", text)
    if named and (f"{named[1]}({named[2]})" if named[2] else named[1]) in NAMES:
        return NAMES[f"{named[1]}({named[2]})" if named[2] else named[1]]
    try:
        number = int(text[:-1], 16) if text.endswith("H") else int(text, 0)
    except ValueError:
        number = -1
    if not 0 <= number <= 255:
        raise ValueError(f"{word!r} is no operation code: write READ(10), 28h or 0x28")
    return number


@attrs.frozen(kw_only=True)
class Rule(Written):
    """One fault and what must hold for it to happen.  Times are seconds since the rule was set."""

    FAULTS = tuple(Fault)

    fault: Fault = attrs.field(converter=Fault)
    seconds: float = attrs.field(default=1.0, converter=delay)  # of a delay
    opcode: frozenset[int] = attrs.field(default=frozenset(), converter=_opcodes)  # none: every command
    lun: int | None = attrs.field(default=None, converter=count_or_none)
    lba: tuple[int, int] | None = attrs.field(default=None, converter=span)
    p: float = attrs.field(default=1.0, converter=chance)  # for each command that fits
    skip: int = attrs.field(default=0, converter=count)  # so many that fit are left alone first
    times: int = attrs.field(default=0, converter=count)  # and after so many faults it is over; 0: never
    after: float = attrs.field(default=0.0, converter=moment)
    until: float = attrs.field(default=math.inf, converter=moment)

    def fits(self, since: float, lun: int, cdb: bytes) -> bool:
        if not self.after <= since < self.until or (self.lun is not None and lun != self.lun):
            return False
        if self.opcode and cdb[0] not in self.opcode:
            return False
        if self.lba is None:
            return True
        touched = blocks_of(cdb)
        return touched is not None and touched[0] <= self.lba[1] and self.lba[0] <= touched[1]


# Commands whose CDB names blocks at the place that is usual for its length.
_WITH_LBA = frozenset(
    (
        0x08,
        0x0A,
        0x28,
        0x2A,
        0x2E,
        0x2F,
        0x34,
        0x35,
        0x41,
        0x88,
        0x8A,
        0x8B,
        0x8E,
        0x8F,
        0x90,
        0x91,
        0x93,
        0xA8,
    )
) | {0xAA, 0xAE, 0xAF}


def blocks_of(cdb: bytes) -> tuple[int, int] | None:
    """First and last block that a CDB names; None when it names none.  SPC-4 §4.3.4."""
    number = int.from_bytes
    if cdb[0] == 0x89:  # COMPARE AND WRITE counts in one byte
        first, count = number(cdb[2:10], "big"), cdb[13]
    elif cdb[0] not in _WITH_LBA:
        return None
    elif cdb[0] < 0x20:
        first, count = number(cdb[1:4], "big") & 0x1FFFFF, cdb[4] or 256
    elif cdb[0] < 0x60:
        first, count = number(cdb[2:6], "big"), number(cdb[7:9], "big")
    elif cdb[0] < 0xA0:
        first, count = number(cdb[2:10], "big"), number(cdb[10:14], "big")
    else:
        first, count = number(cdb[2:6], "big"), number(cdb[6:10], "big")
    return (first, first + count - 1) if count else None


@attrs.frozen
class Event:
    """One fault that happened."""

    at: float  # seconds since the rules were set
    command: int  # how many commands had come before
    fault: Fault
    rule: int  # which, counted from 0
    opcode: int
    lun: int
    lba: int | None

    def to_json(self) -> dict[str, Any]:
        return attrs.asdict(self) | {"at": round(self.at, 6), "fault": str(self.fault)}


class Injector:
    """The rules of one session, and what came of them.  The first rule that fits and strikes wins."""

    def __init__(self, rules: Iterable[Rule], seed: int, now: float) -> None:
        self._dice = Dice(rules, seed)
        self.rules: tuple[Rule, ...] = self._dice.rules
        self.seed = seed
        self.began = now
        self.commands = 0
        self.struck = 0
        self.events: deque[Event] = deque(maxlen=MOST_EVENTS)

    def strike(self, now: float, lun: int, cdb: bytes) -> Rule | None:
        """A command has come: which rule strikes it, if any."""
        since, number = now - self.began, self.commands
        self.commands += 1
        struck = self._dice.roll([rule.fits(since, lun, cdb) for rule in self.rules])
        if struck is None:
            return None
        self.struck += 1
        rule, touched = self.rules[struck], blocks_of(cdb)
        lba = touched[0] if touched else None
        self.events.append(Event(since, number, rule.fault, struck, cdb[0], lun, lba))
        return rule

    def to_json(self) -> dict[str, Any]:
        return {
            "seed": self.seed,
            "rules": [rule.to_json() for rule in self.rules],
            "commands": self.commands,
            "struck": self.struck,
            "events": [event.to_json() for event in self.events],
        }
