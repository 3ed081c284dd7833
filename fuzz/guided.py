"""Coverage-guided: libFuzzer, through atheris, chooses the bytes; new code reached is what it keeps.

    python -m fuzz.guided session -max_total_time=60 CORPUS    what ``python -m fuzz coverage`` runs

``session``: the bytes are the liar's dice, so every input is a script of well-formed steps and their mangles,
judged by the referee.  The others hand the bytes as they are to what a stranger's bytes meet first.  A
program of its own, because the code has to be instrumented while it is imported."""

import contextlib
import random
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import atheris

with atheris.instrument_imports(
    include=["scsipub.iscsi", "scsipub.scsi", "scsipub.target", "scsipub.storage"]
):
    from fuzz import liar
    from fuzz.entry import Entry
    from fuzz.find import FINDS, Find, Record
    from fuzz.ground import LIMITS, Ground
    from fuzz.runner import Found, ground, shrink
    from fuzz.steps import Script
    from fuzz.world import World
    from scsipub.errors import PeerError
    from scsipub.iscsi import pdu
    from scsipub.iscsi.text import parse_text_untrusted
    from scsipub.scsi.commands import ACTION_OPCODES, COMMANDS

STEPS = 120


class Spent(Exception):
    """The input has been used up."""


class Dice(random.Random):
    """Dice that fall as the bytes say: two for a chance, as many as needed for a choice."""

    def __init__(self, data: bytes) -> None:
        super().__init__(0)
        self.data = data
        self.at = 0

    def _take(self, count: int) -> int:
        self.at += count
        if self.at > len(self.data):
            raise Spent
        return int.from_bytes(self.data[self.at - count : self.at])

    def random(self) -> float:
        return self._take(2) / 65536 if hasattr(self, "data") else 0.0

    def getrandbits(self, k: int, /) -> int:
        return self._take(-(-k // 8)) & (1 << k) - 1

    def randbytes(self, n: int) -> bytes:
        """From a seed: what is in them matters less than that they are there."""
        return random.Random(self._take(1)).randbytes(n)

    def _randbelow(self, n: int) -> int:  # two words of ``random`` lead here
        return self._take(1 if n <= 256 else 2 if n <= 65536 else 4) % n if n else 0


def session(on: Ground, data: bytes) -> None:
    """One world whose dice are these bytes.  What is found is shrunk and written before it is raised."""
    dice = Dice(data)
    script = Script({}, [])
    try:
        script.setup = liar.setup(dice)
    except Spent:
        return
    world = World(on, script.setup, Counter())
    try:
        talker = liar.Liar(dice, world, 0.2)
        with contextlib.suppress(Spent):
            while len(script.steps) < STEPS:
                for step in talker.steps():
                    script.steps.append(step)
                    world.take(step)
        world.finish()
    except Find as find:
        world.close()
        small = shrink(on, Found(script, find))
        path = FINDS / f"{find.kind.lower().replace(' ', '-')}-guided.json"
        Record(small.script, small.find.kind, small.find.what).write(path)
        raise
    world.close()


def login(on: Ground, data: bytes) -> None:
    """The bytes as PDUs of a login."""
    entry = Entry(LIMITS, 1, Counter())
    while data and not entry.over:
        used, finished = entry.receive(data)
        if not used or finished is not None:
            return
        data = data[used:]


def text(on: Ground, data: bytes) -> None:
    """The bytes as text keys."""
    with contextlib.suppress(PeerError):
        parse_text_untrusted(data, LIMITS)


def pdus(on: Ground, data: bytes) -> None:
    """The bytes as one PDU, written back to what they were read from."""
    known = pdu.INITIATOR_PDUS.get(data[0] & 0x3F) if len(data) >= 48 else None
    if known is not None:
        with contextlib.suppress(PeerError):
            it = known.unpack_untrusted(data[:48], data=data[48:], ahs=b"")
            again = known.unpack_untrusted(it.pack(), data=data[48:], ahs=b"")
            if again != it:
                raise Find("codec", f"{data[:48].hex()} is read, written and read as something else")


def cdbs(on: Ground, data: bytes) -> None:
    """The bytes as a CDB."""
    if len(data) >= 16:
        row = COMMANDS.get((data[0], data[1] & 0x1F if data[0] in ACTION_OPCODES else None))
        if row is not None:
            with contextlib.suppress(PeerError):
                row.check_fields(bytes(data[:16]))


DEEDS: dict[str, Callable[[Ground, bytes], None]] = {
    deed.__name__: deed for deed in (session, login, text, pdus, cdbs)
}


def main(words: list[str]) -> None:
    deed = DEEDS[words[0]]
    with ground() as on:

        def one(data: bytes) -> Any:
            deed(on, data)

        atheris.Setup([sys.argv[0], *words[1:]], one)
        atheris.Fuzz()


if __name__ == "__main__":
    Path("build").mkdir(exist_ok=True)
    main(sys.argv[1:])
