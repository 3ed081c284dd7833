"""The mangler: breaks a valid step in one of the ways that networks, bugs and attackers know.

Lengths, numbers, tags, offsets, digests, duplicates, order, and cuts at any byte.  A mangle is a tuple, so
that it can be written down, taken again and left out:

    ("set", at, length, value)      overwrite a number of the header; digests are computed afterwards
    ("add", at, length, difference) change a number of the header; digests are computed afterwards
    ("flip", bit, 0, 0)             flip one bit of the PDU as it travels, digests and padding included
    ("cut", keep, 0, 0)             only so many bytes are ever sent
    ("noise", at, length, seed)     so many random bytes are put in at this place
    ("split", at, 0, 0)             the target gets the first bytes alone, the rest later
    ("twice", 0, 0, 0)              sent twice
    ("late", 0, 0, 0)               sent after the next step

Pure: ``pick`` chooses, ``numbers`` and ``wire`` do what was chosen."""

import random

from fuzz.steps import Mangle, Step
from scsipub.iscsi.pdu import INITIATOR_PDUS, places
from scsipub.iscsi.pdu_base import Kind

# Where the numbers of each PDU lie, from the codec's own table.
NUMBERS: dict[int, list[tuple[int, int]]] = {
    opcode: [(p.offset, p.length) for _, p in places(cls) if p.kind is Kind.NUMBER]
    for opcode, cls in INITIATOR_PDUS.items()
}
LENGTHS = [(4, 1), (5, 3)]  # TotalAHSLength, DataSegmentLength
EVERYWHERE = [(offset, 4) for offset in range(8, 48, 4)]
EXTREMES = (0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)


def pick(dice: random.Random, step: Step) -> Mangle:
    """One way to break this step."""
    opcode = step.bhs[0] & 0x3F
    what = dice.random()
    if what < 0.45:
        at, length = dice.choice(NUMBERS.get(opcode, EVERYWHERE))
        if dice.random() < 0.6:
            return ("add", at, length, dice.choice((1, -1, 2, -2, 8, 32, -32, 512, -512, 0x80000000)))
        return ("set", at, length, dice.choice(EXTREMES) & (1 << 8 * length) - 1)
    if what < 0.52:
        at, length = dice.choice(LENGTHS)
        return ("add", at, length, dice.choice((1, -1, 4, -4, 64, 0x40000)))
    if what < 0.72:
        return ("flip", dice.randrange(48 * 8 if dice.random() < 0.7 else 640 * 8), 0, 0)
    if what < 0.78:
        return ("set", dice.randrange(48), 1, dice.randrange(256))
    if what < 0.80:
        return ("cut", dice.randrange(96), 0, 0)
    if what < 0.82:
        return ("noise", dice.randrange(64), dice.randrange(1, 64), dice.randrange(1 << 16))
    if what < 0.90:
        return ("split", dice.randrange(1, 64 if dice.random() < 0.7 else 4096), 0, 0)
    if what < 0.95:
        return ("twice", 0, 0, 0)
    return ("late", 0, 0, 0)


def numbers(header: bytearray, mangles: tuple[Mangle, ...]) -> None:
    """What changes the header before the digests are computed."""
    for what, at, length, value in mangles:
        if what == "add":
            now = int.from_bytes(header[at : at + length])
            header[at : at + length] = ((now + value) % (1 << 8 * length)).to_bytes(length)
        elif what == "set":
            header[at : at + length] = (value % (1 << 8 * length)).to_bytes(length)


def wire(data: bytes, mangles: tuple[Mangle, ...]) -> bytes:
    """What happens to the bytes on their way."""
    for what, at, length, value in mangles:
        if what == "flip":
            changed = bytearray(data)
            place = at // 8 % len(changed) if changed else 0
            if changed:
                changed[place] ^= 1 << at % 8
            data = bytes(changed)
        elif what == "cut":
            data = data[:at]
        elif what == "noise":
            data = data[:at] + random.Random(value).randbytes(length) + data[at:]
        elif what == "twice":
            data += data
    return data


def has(step: Step, what: str) -> int | None:
    """The place of the first mangle of that name, or None."""
    for name, at, _, _ in step.mangles:
        if name == what:
            return at
    return None
