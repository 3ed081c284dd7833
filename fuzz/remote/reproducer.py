"""A find as a program: one readable file that needs nothing but Python and runs by hand.

The steps are written as they went out in the last run; what differs from run to run (ExpStatSN, the tag of an
R2T, the response to a challenge) is filled in when the program runs.  Source: ``reproducer.txt``."""

import re
from pathlib import Path

from fuzz.entry import PROOF
from fuzz.find import Find
from fuzz.remote.address import Address
from fuzz.remote.evidence import Evidence, Sent
from fuzz.steps import describe

TEMPLATE = Path(__file__).with_name("reproducer.txt")
# Of an answer's header: what is the same in every run.
STEADY = [(0, 24), (36, 48)]
NUMBERED = [(0, 24), (28, 48)]


def verdict(find: Find, evidence: Evidence) -> str:
    """How the program tells whether it happened again."""
    kind = find.kind
    if kind.startswith(("crash", "gone", "hang: the target")):
        return '("gone",)'
    if evidence.silent is not None:
        return f'("silent", {evidence.silent!r})'
    if not evidence.answer or kind.startswith(("dropped", "login: closed")):
        return '("closed",)'
    if kind.startswith("StatSN"):
        return f'("statsn", {STEADY!r})'
    return f'("answer", {NUMBERED if "CmdSN" in kind else STEADY!r})'


def write(
    path: Path, find: Find, evidence: Evidence, sent: list[Sent], address: Address, patience: float
) -> None:
    """The program."""
    exact = find.kind.startswith(("wrong data", "leak", "sense", "Reject", "NOP-In"))
    shown = evidence.answer[: 48 + 64] if exact else evidence.answer[:48]
    probe = {"InitiatorName": "iqn.1993-08.org.debian:01:probe", "SessionType": "Normal"}
    probe |= {"TargetName": address.target} | ({"AuthMethod": "CHAP"} if address.user else {})
    values = {
        "WHAT": f"{find.kind}: {find.what}".replace("\\", "/").replace('"""', "'''"),
        "TARGET": str(address),
        "IQN": repr(address.target.encode()),
        "NAME": path.name,
        "KIND": find.kind.replace('"', "'"),
        "VERDICT": verdict(find, evidence),
        "EVIDENCE": shown.hex(),
        "PATIENCE": f"{patience:g}",
        "SHORT": f"{min(patience, 2.0):g}",
        "WAIT": f"{patience if evidence.silent or find.kind.startswith('dropped') else 0.5:g}",
        "PROBE": repr(probe),
        "USER": repr(address.user),
        "LUN": str(address.lun),
        "STEPS": "\n".join(f"    {line}" for line in _lines(sent)) or "    pass",
    }
    text = TEMPLATE.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    path.write_text(text)
    path.chmod(0o755)


def _lines(sent: list[Sent]) -> list[str]:
    lines = []
    last_drop = max((n for n, it in enumerate(sent) if it.kind != "drop"), default=-1)
    for number, it in enumerate(sent):
        if it.kind == "connect":
            lines.append(f"connect({it.who})")
        elif it.kind == "drop":
            # The last ones are ours, after the verdict.
            if number < last_drop:
                lines.append(f"if {it.who} in connections: drop({it.who})")
        else:
            lines.append(_said(it))
    return lines


def _said(it: Sent) -> str:
    step, wire = it.step, it.wire
    what = describe(step) + "".join(
        f", {name} {at} {length} {value}" for name, at, length, value in step.mangles
    )
    broken = [name for name, *_ in step.mangles if name != "split"]
    split = next((at for name, at, *_ in step.mangles if name == "split"), 0)
    if not it.in_session:
        if broken or len(wire) < 48 or step.ahs:
            return f"noise({it.who}, {what!r}, {_bytes(wire)})"
        data = step.data if PROOF in step.data else wire[48 : 48 + int.from_bytes(wire[5:8])]
        return f"login({it.who}, {what!r}, {_bytes(wire[:48])}, {data!r})"
    if (
        len(step.bhs) != 48
        or any(name in ("flip", "cut", "noise", "twice") for name in broken)
        or len(wire) < 48
    ):
        return f"noise({it.who}, {what!r}, {_bytes(wire)})"
    extra = ""
    if broken:
        extra += ", refresh=False"
    if (
        step.answers
        and wire[20:24] != b"\xff\xff\xff\xff"
        and not any(20 <= at < 24 for _, at, *_ in step.mangles)
    ):
        extra += ", r2t=True"
    if split and split < len(wire):
        extra += f", split={split}"
    if step.more:
        extra += ", wait=0"
    rest = f", {_bytes(wire[48:])}" if len(wire) > 48 else ""
    return f"say({it.who}, {what!r}, {_bytes(wire[:48])}{rest}{extra})"


def _bytes(data: bytes) -> str:
    """Readable where it is one thing again and again, else in hex."""
    if len(data) >= 16 and len(set(data)) == 1:
        return f"bytes([{data[0]}]) * {len(data)}"
    return f'bytes.fromhex("{data.hex()}")'


def slug(kind: str) -> str:
    """A kind as part of a file's name."""
    return re.sub(r"[^a-z0-9]+", "-", kind.lower()).strip("-")[:60]
