"""Stale bytes: does an answer hold what was written elsewhere, or what somebody else has written?

All write data of ``steps.fill`` comes from one long blob in which no eight bytes come twice, so a few of
them are enough to know them again."""

from fuzz.content import SECTOR
from fuzz.remote.ground import CANARY, FarDisk
from fuzz.steps import BLOB

WINDOW = 16


def written(data: bytes) -> int:
    """Where in ``data`` 16 bytes of write data begin; -1 when there are none."""
    for at in range(0, len(data) - WINDOW + 1, WINDOW):
        piece = data[at : at + WINDOW]
        # Tables and texts repeat themselves; the blob does not.
        if len(set(piece)) > 10 and piece in BLOB:
            return at
    return -1


def explain(disk: FarDisk, first: int, data: bytes, wrong: str, name: str) -> tuple[str, str]:
    """Kind and words for a read that shows what was not written there."""
    known = bytes(disk.content.data)
    for index in range(len(data) // SECTOR):
        got = data[index * SECTOR : index * SECTOR + SECTOR]
        want = known[(first + index) * SECTOR : (first + index + 1) * SECTOR]
        if got == want:
            continue
        if CANARY in got:
            return "leak: another session's bytes", f"{name} shows the witness's: {wrong}"
        if got in known:
            return "wrong data: other sectors", f"{name}: {wrong}"
        if not any(got):
            return "wrong data: zeros", f"{name}: {wrong}"
        if written(got) >= 0:
            return "wrong data: written, but not here or not now", f"{name}: {wrong}"
    return "wrong data", f"{name}: {wrong}"
