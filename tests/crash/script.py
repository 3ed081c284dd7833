"""What a tenant does to one disk in these runs: every kind of call, at odd places, step by step.

Pure: the same steps run in a process that is killed, in one whose calls fail, and on a medium that loses its
power; each sector of each step has contents that no other has."""

import random

import attrs

from scsipub.storage.base import SECTOR

SHORT, LONG = 301, 33_001  # more than two chunks, and no multiple of anything; the map needs a second page
MIDDLE = 651
BASE_BYTES = 137 * SECTOR + 77  # the image ends within a sector, and long before the disk
BASE = b"".join(b"base%07d" % n + bytes([n % 251]) * 501 for n in range(200))[:BASE_BYTES]
ZERO = bytes(SECTOR)


@attrs.frozen
class Step:
    """One call.  ``what``: create open write now fua same unmap flush close stretch grow destroy.

    ``count`` of a growth is the new length; ``stretch`` is of a disk in use, ``grow`` of one at rest."""

    what: str
    first: int = 0
    count: int = 0
    boot: int = 0  # of the machine: only for open

    @property
    def writes(self) -> bool:
        return self.what in ("write", "now", "fua", "same", "unmap")


def _write(what: str, first: int, count: int) -> Step:
    return Step(what, first, count)


FLUSH, CLOSE, OPEN = Step("flush"), Step("close"), Step("open")

STEPS: tuple[Step, ...] = (
    Step("create"),
    OPEN,
    _write("write", 3, 5),
    _write("now", 8, 8),  # its chunk has its room
    _write("write", 300, 1),  # the last sector
    FLUSH,
    _write("write", 6, 3),  # over old ones
    _write("write", 14, 5),  # old and new ones
    _write("fua", 17, 3),  # over some that were written without it
    _write("fua", 140, 8),
    _write("unmap", 4, 9),  # written ones, and none of the image shows again
    _write("write", 10, 2),  # into the hole
    FLUSH,
    _write("same", 150, 9),
    _write("unmap", 128, 128),  # a whole chunk: its room goes back
    FLUSH,
    _write("write", 200, 2),
    _write("fua", 201, 2),
    _write("unmap", 130, 3),
    FLUSH,
    CLOSE,
    OPEN,
    _write("write", 7, 9),
    CLOSE,  # without a flush: the process ends, the machine does not
    OPEN,
    _write("write", 124, 9),  # two chunks
    _write("write", 290, 2),  # the last chunk has its room, as far as the disk goes
    Step("stretch", count=MIDDLE),
    _write("now", 126, 3),
    _write("write", 299, 6),  # over the old end, in a chunk of which there was a part
    _write("fua", 600, 3),
    _write("unmap", 310, 4),
    CLOSE,
    Step("grow", count=LONG),
    OPEN,
    _write("write", LONG - 6, 6),  # the second page of the map
    _write("write", MIDDLE - 3, 6),
    FLUSH,
    _write("unmap", 32_760, 20),  # the border of the two pages
    _write("fua", 32_766, 4),
    _write("write", 60, 3),
    FLUSH,
    CLOSE,
    Step("open", boot=1),  # the machine was restarted
    _write("write", 61, 4),
    _write("now", 62, 2),
    FLUSH,
    _write("same", 20, 6),
    CLOSE,
    Step("destroy"),
)


def random_steps(seed: int, count: int) -> tuple[Step, ...]:
    """Another day, for who has more time."""
    choice = random.Random(seed)
    steps = [Step("create"), OPEN]
    for _ in range(count):
        what = choice.choice(["write"] * 4 + ["now", "fua", "fua", "same", "unmap", "flush", "flush", "open"])
        if what == "open":
            steps += [CLOSE, OPEN]
        elif what == "flush":
            steps.append(FLUSH)
        else:
            first = choice.randrange(SHORT)
            steps.append(Step(what, first, min(choice.choice([1, 2, 3, 5, 8]), SHORT - first)))
    return (*steps, CLOSE)


def contents(number: int, step: Step) -> list[bytes]:
    """What the step writes, sector by sector."""
    if step.what == "unmap":
        return [ZERO] * step.count
    if step.what == "same":
        return [(b"same%04d" % number) * 64] * step.count
    return [b"%04d%04d" % (number, n) * 64 for n in range(step.count)]


def of_base(sector: int) -> bytes:
    """What is there where nobody has written."""
    return BASE[sector * SECTOR : (sector + 1) * SECTOR].ljust(SECTOR, b"\0")
