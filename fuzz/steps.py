"""Steps: what the lying initiator does, written so that any of them can be left out.

A step holds a PDU with its numbers relative: "the next CmdSN, plus 1", "as much of the R2T for task 7 as
fits". They become bytes only when the step is taken.  Therefore a script survives shrinking, and means the
same to a target whose tags and numbers run differently.  Pure; ``world`` takes the steps."""

import random
import struct
from collections.abc import Mapping
from typing import Any

import attrs

from scsipub.iscsi import pdu
from scsipub.iscsi.constants import Opcode
from scsipub.scsi.commands import ACTION_OPCODES, COMMANDS

# (what, where, how long, how much): see ``mangle``.
Mangle = tuple[str, int, int, int]

BLOB = random.Random("fuzz").randbytes(1 << 20)
_WORD = struct.Struct(">I")


def fill(seed: int, length: int) -> bytes:
    """Write data in which no two sectors are alike, and no two seeds."""
    at = (seed * 2654435761) % (len(BLOB) - 1)
    out = BLOB[at : at + length]
    while len(out) < length:
        out += BLOB[: length - len(out)]
    return out


@attrs.define
class Step:
    """One thing that an initiator, or the machine around it, does.

    ``kind``: "say" a PDU; "connect" anew, "drop" the connection; "work": the ``n``-th thread comes back;
    "hold": threads come back only by "work" (``n`` 1) or at once (0); "stall": the peer takes no answers (1)
    or does again (0); "background": work behind commands runs to its end."""

    kind: str = "say"
    who: int = 0
    n: int = 0
    bhs: bytes = b""
    ahs: bytes = b""
    data: bytes = b""
    seed: int = 0  # instead of data: ``fill(seed, length)``
    length: int = 0
    number: int | None = None  # CmdSN: this far ahead of the one that is due
    answers: bool = False  # Data-Out: tag, DataSN, offset, F as the task named in ``bhs`` wants them
    mangles: tuple[Mangle, ...] = ()
    more: bool = False  # goes to the target together with the next step, if that changes nothing else

    def to_json(self) -> dict[str, Any]:
        """Readable, and without what is as usual."""
        told = describe(self)
        it: dict[str, Any] = {"says": told} if told else {}
        for field in attrs.fields(Step):
            value = getattr(self, field.name)
            if value != field.default:
                it[field.name] = value.hex() if isinstance(value, bytes) else value
        return it

    @classmethod
    def from_json(cls, it: Mapping[str, Any]) -> "Step":
        values = {key: value for key, value in it.items() if key != "says"}
        for name in ("bhs", "ahs", "data"):
            if name in values:
                values[name] = bytes.fromhex(values[name])
        if "mangles" in values:
            values["mangles"] = tuple((m[0], int(m[1]), int(m[2]), int(m[3])) for m in values["mangles"])
        return cls(**values)


@attrs.define
class Script:
    """What a run begins with (see ``world.World``), and its steps."""

    setup: dict[str, Any]
    steps: list[Step]

    def to_json(self) -> dict[str, Any]:
        return {"setup": self.setup, "steps": [step.to_json() for step in self.steps]}

    @classmethod
    def from_json(cls, it: Mapping[str, Any]) -> "Script":
        return cls(dict(it["setup"]), [Step.from_json(step) for step in it["steps"]])


def say(it: pdu.Pdu, **more: Any) -> Step:
    """A step that says this PDU, its CmdSN the next one unless told otherwise."""
    numbered = hasattr(it, "cmd_sn") and not isinstance(it, pdu.LoginRequest)
    values: dict[str, Any] = {"number": 0 if numbered else None, "ahs": it.ahs, "data": it.data}
    return Step(bhs=it.pack(), **(values | more))


# -- for people ----------------------------------------------------------------------------------------------


def describe(step: Step) -> str:
    """In a few words, for the reader of a find."""
    if step.kind != "say":
        return f"{step.kind} {step.n}" if step.n else step.kind
    if len(step.bhs) < 48:
        return f"{len(step.bhs)} bytes of noise"
    opcode = step.bhs[0] & 0x3F
    known = pdu.INITIATOR_PDUS.get(opcode)
    words = [known.__name__ if known else f"opcode {opcode:02x}h", f"tag {step.bhs[16:20].hex()}"]
    if opcode == Opcode.SCSI_COMMAND:
        words.insert(1, command_name(step.bhs[32:48]))
        words.append(f"expects {int.from_bytes(step.bhs[20:24])}")
    if step.bhs[0] & 0x40:
        words.append("immediate")
    if step.number:
        words.append(f"CmdSN {step.number:+d}")
    if step.data or step.length:
        words.append(f"with {len(step.data) or step.length} bytes")
    return ", ".join(words)


def command_name(cdb: bytes) -> str:
    """As the command table has it."""
    row = COMMANDS.get((cdb[0], cdb[1] & 0x1F if cdb[0] in ACTION_OPCODES else None))
    return row.name if row else f"CDB {cdb[0]:02x}h"
