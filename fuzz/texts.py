"""Text keys built from the key table: each with values inside its type, at its bounds, and beyond.

Source: ``scsipub.iscsi.keys``."""

import random

from fuzz.entry import LOCKED, MOVED, PROOF, TARGET, USER
from scsipub.iscsi.keys import KEYS, Boolean, Choice, Key, Number, Sender

NAME = "iqn.1993-08.org.debian:01:fuzz"
WEIRD = ("", "NotUnderstood", "Reject", "Irrelevant", "None", "Yes", "-1", "0x", "0b", "%s%n", "../..",
         "\x7f", "ä", "A" * 255, "A" * 256, "1,2,3", "?", "0" * 30, " 1", "Yes,No")  # fmt: skip
FROM_US = [name for name, key in KEYS.items() if key.sender is not Sender.TARGET]


def value(dice: random.Random, key: Key) -> str:
    """Something to say for this key, mostly of its type."""
    if dice.random() < 0.15:
        return dice.choice(WEIRD)
    kind = key.type
    if isinstance(kind, Number):
        near = (kind.low, kind.high, kind.low - 1, kind.high + 1, 0, 1, dice.randint(kind.low, kind.high))
        number = dice.choice(near)
        return hex(number) if number >= 0 and dice.random() < 0.3 else str(number)
    if isinstance(kind, Boolean):
        return dice.choice(("Yes", "No"))
    if isinstance(kind, Choice):
        options = [*kind.supported, "KRB5", "None", "private"]
        return ",".join(dice.sample(options, dice.randint(1, len(options))))
    return dice.choice(WEIRD)


def any_pairs(dice: random.Random, most: int = 8) -> list[tuple[str, str]]:
    """A few keys, known and unknown, perhaps one twice."""
    pairs = []
    for _ in range(dice.randint(0, most)):
        name = (
            dice.choice(FROM_US) if dice.random() < 0.9 else dice.choice(("X-org.fuzz", "Foo", "", "a" * 64))
        )
        key = KEYS.get(name)
        pairs.append((name, value(dice, key) if key else dice.choice(WEIRD)))
    return pairs


def text(pairs: list[tuple[str, str]]) -> bytes:
    return b"".join(f"{key}={said}".encode("utf-8", "surrogateescape") + b"\0" for key, said in pairs)


def names(dice: random.Random, *, honest: bool) -> list[tuple[str, str]]:
    """Who is speaking, and to whom."""
    if honest:
        return [("InitiatorName", NAME), ("TargetName", TARGET), ("SessionType", "Normal")]
    target = dice.choice((TARGET, LOCKED, LOCKED, MOVED, "iqn.2025-01.pub.scsipub:none", "", "eui.1"))
    kind = dice.choice(("Normal", "Normal", "Normal", "Discovery", "Other"))
    pairs = [("InitiatorName", NAME), ("TargetName", target), ("SessionType", kind)]
    dice.shuffle(pairs)
    return pairs if dice.random() < 0.9 else pairs[1:]


def terms(dice: random.Random) -> list[tuple[str, str]]:
    """What an honest initiator negotiates: as different as they come."""
    burst = dice.choice((512, 4096, 8192, 65536, 262144, 16776192))
    first = min(burst, dice.choice((512, 4096, 65536, 262144)))
    digest = dice.choice(("None", "None", "CRC32C"))
    return [
        ("HeaderDigest", digest),
        ("DataDigest", dice.choice((digest, "None"))),
        ("InitialR2T", dice.choice(("Yes", "No"))),
        ("ImmediateData", dice.choice(("Yes", "Yes", "No"))),
        ("MaxBurstLength", str(burst)),
        ("FirstBurstLength", str(first)),
        ("MaxRecvDataSegmentLength", str(dice.choice((512, 8192, 65536, 262144)))),
        ("MaxOutstandingR2T", "1"),
        ("DefaultTime2Wait", "2"),
        ("ErrorRecoveryLevel", dice.choice(("0", "2"))),
    ]


def proof(dice: random.Random) -> list[tuple[str, str]]:
    """The answer to a challenge, right or not."""
    user = USER if dice.random() < 0.9 else dice.choice(WEIRD)
    response = PROOF.decode() if dice.random() < 0.8 else "0x" + dice.randbytes(16).hex()
    pairs = [("CHAP_N", user), ("CHAP_R", response)]
    if dice.random() < 0.3:
        challenge = "0x" + dice.randbytes(dice.choice((0, 1, 16, 1024, 1025))).hex()
        pairs += [("CHAP_I", dice.choice(("1", "0x7f", "256", "x"))), ("CHAP_C", challenge)]
    return pairs
