"""Come back after a death, as the daemon does, and say which promise was broken.

The rules R1 to R13 are those of the overlay contract in docs/storage.md; each finding begins with the one it
breaks.  An empty list is what one wants to see."""

import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from scsipub.storage.base import SECTOR, Base
from scsipub.storage.bitmap import Bitmap
from scsipub.storage.disk import Disk
from scsipub.storage.durable import create_durable
from scsipub.storage.files import forget_failure, read_bits, remove_files
from scsipub.storage.grow import grow_durable
from scsipub.storage.layout import HEADER, Header, OverlayPaths, Part
from scsipub.storage.verify import verify_durable
from tests.crash.ledger import Ledger
from tests.crash.script import BASE, SHORT
from tests.crash.workload import BOOTS, SHA, paths_in

OTHER_BOOT = b"another boot".ljust(16)
BASE_HASH = hashlib.sha256(BASE).hexdigest()
MOST = 5  # findings of one kind are enough


def process_died(folder: Path, ledger: Ledger) -> list[str]:
    """After SIGKILL: the machine lives on.  Also tries the machine's death, everything written having reached
    the medium by itself."""
    base = Base.open(folder / "image", SHA)
    try:
        found = list(_process_died(folder, base, ledger))
    except OSError as error:
        found = [f"R6: it comes back and then fails: {error!r}"]
    finally:
        base.close()
    if hashlib.sha256((folder / "image").read_bytes()).hexdigest() != BASE_HASH:
        found.append("the image was changed")
    return found


def _process_died(folder: Path, base: Base, ledger: Ledger) -> Iterator[str]:
    paths = paths_in(folder, BOOTS[ledger.boot])
    if ledger.stage != "there":
        yield from taken_back(paths, base)
        return
    if os.path.exists(paths.path(Part.FAILED)):
        forget_failure(paths)  # an operator has looked
    yield from raw_bits(paths, ledger)
    elsewhere = folder / "after"
    (elsewhere / "overlays").mkdir(parents=True, exist_ok=True)
    for name in os.listdir(folder / "overlays"):
        shutil.copyfile(folder / "overlays" / name, elsewhere / "overlays" / name)
    yield from come_back(paths, base, ledger, ledger.after_death, every=True)
    yield from life_goes_on(paths, base, ledger)
    after = paths_in(elsewhere, OTHER_BOOT)
    yield from come_back(after, base, ledger, ledger.after_power_failure, every=True)


def taken_back(paths: OverlayPaths, base: Base) -> Iterator[str]:
    """R10: what was being made or removed is removed, whatever there is of it, and leaves nothing in the way
    of another."""
    remove_files(paths)
    if left := os.listdir(paths.directory):
        yield f"R10: {left} are left of a disk that was taken back"
    create_durable(paths, 8, base.identity)
    remove_files(paths)


def raw_bits(paths: OverlayPaths, ledger: Ledger) -> Iterator[str]:
    """R1, R3, R5: no bit for what was not written; none in the map for what no flush was asked to cover."""
    for part, may in ((Part.LIVE, ledger.touched), (Part.MAP, ledger.covered)):
        try:
            fd = os.open(paths.path(part), os.O_RDONLY)
        except FileNotFoundError:
            if part is Part.MAP:
                yield "R10: the map is gone"
            continue
        try:
            raw = os.pread(fd, HEADER, 0)
            if part is Part.LIVE and not raw.strip(b"\0"):
                continue  # its header is written last
            bits = read_bits(fd, Header.unpack(raw, part).sectors, HEADER)
        finally:
            os.close(fd)
        for sector in [s for s in _set(bits) if s not in may][:MOST]:
            yield f"R5: .{part.value} has a bit for sector {sector}"


def mended(paths: OverlayPaths, base: Base, sectors: int) -> None:
    """What the resumer does: look, finish a growth, look again."""
    try:
        verify_durable(paths, sectors, base.identity)
    except OSError:
        if sectors != SHORT:
            grow_durable(paths, sectors, base.identity)
        verify_durable(paths, sectors, base.identity)


def come_back(
    paths: OverlayPaths,
    base: Base,
    ledger: Ledger,
    may_hold: Callable[[int], set[bytes]],
    *,
    every: bool = False,
) -> Iterator[str]:
    """R6, R13: open it, and read what the client could read."""
    try:
        mended(paths, base, ledger.sectors)
        disk = Disk.open_durable(base, paths, sectors=ledger.sectors)
    except OSError as error:
        yield f"R6: it does not come back: {error}"
        return
    try:
        if os.path.getsize(paths.path(Part.DATA)) != ledger.sectors * SECTOR:
            yield "R13: the data file has another length"
        yield from foreign(disk, ledger)
        sectors = sorted(ledger.touched | set(range(160))) if every else sorted(ledger.touched)
        for sector in _wrong(disk, sectors, may_hold)[:MOST]:
            yield f"sector {sector} holds {read(disk, sector)[:12]!r}, it may hold " + ", ".join(
                repr(value[:12]) for value in sorted(may_hold(sector))
            )
    finally:
        disk.close()


def foreign(disk: Disk, ledger: Ledger) -> Iterator[str]:
    """Beyond what was ever written all comes from the image: no bit is set."""
    overlay = disk._overlay
    if overlay is None:
        yield "R10: there is no overlay"
        return
    for sector in [s for s in _set(overlay.live) if s not in ledger.touched][:MOST]:
        yield f"R2: sector {sector} was never written, and does not come from the image"
    held = {s // overlay.chunk_sectors for s in _set(overlay.live)}
    if overlay.trimmed is not None:
        trimmed = set(_set(overlay.trimmed))
        held = {s // overlay.chunk_sectors for s in _set(overlay.live) if s not in trimmed}
    if not held <= set(_set(overlay.charged)):
        yield "R9: what is held is not charged"


def life_goes_on(paths: OverlayPaths, base: Base, ledger: Ledger) -> Iterator[str]:
    """What is written and flushed now is there tomorrow.  Raises OSError when it fails."""
    disk = Disk.open_durable(base, paths, sectors=ledger.sectors)
    disk.write(33, b"tomorrow" * 128, fua=True)
    disk.write(ledger.sectors - 1, b"the last" * 64)
    disk.flush()
    disk.close()
    again = Disk.open_durable(base, paths, sectors=ledger.sectors)
    if read(again, 33) + read(again, 34) != b"tomorrow" * 128:
        yield "R4: life does not go on"
    if read(again, ledger.sectors - 1) != b"the last" * 64:
        yield "R3: life does not go on"
    again.close()


def read(disk: Disk, first: int, count: int = 1) -> bytes:
    into = bytearray(count * SECTOR)
    disk.read(first, count, memoryview(into))
    return bytes(into)


def _wrong(disk: Disk, sectors: list[int], may_hold: Callable[[int], set[bytes]]) -> list[int]:
    wrong: list[int] = []
    for first, count in _neighbours(sectors):
        data = read(disk, first, count)
        wrong += [
            first + n for n in range(count) if data[n * SECTOR : (n + 1) * SECTOR] not in may_hold(first + n)
        ]
    return wrong


def _neighbours(sectors: list[int]) -> Iterator[tuple[int, int]]:
    at = 0
    while at < len(sectors):
        count = 1
        while at + count < len(sectors) and sectors[at + count] == sectors[at] + count:
            count += 1
        yield sectors[at], count
        at += count


def _set(bits: Bitmap) -> Iterator[int]:
    for bit, first, count in bits.runs(0, bits.length):
        if bit:
            yield from range(first, first + count)
