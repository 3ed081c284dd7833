"""Changing: what control does to a shared target while its sessions go on.

Source: SPC-4 §6.33 (REPORTED LUNS DATA HAS CHANGED), SBC-3 §4.7 (CAPACITY DATA HAS CHANGED), SAM-5 §5.11.
Knows trio and the units.  Control makes one change of one target at a time.

Each answers False when the target is not open here: then whoever opens it next finds it changed."""

from functools import partial
from typing import TYPE_CHECKING

import trio

from scsipub.target.backing import Backing
from scsipub.target.descriptor import LunDescriptor
from scsipub.worker.units import OpenTarget, attach

if TYPE_CHECKING:
    from scsipub.worker.main import Worker

BACKGROUND_SECONDS = 0.05


async def grow(worker: "Worker", target: str, lun: LunDescriptor) -> bool:
    """A longer unit: 2A/09 for everybody, and READ CAPACITY says so at once.  Raises OSError: it is not."""
    opened = await _find(worker, target)
    if opened is None or lun.lun not in opened.backings:
        return False
    backing = opened.backings[lun.lun]
    sectors, base = await trio.to_thread.run_sync(worker.units.grow, backing, lun, limiter=worker.threads)
    blocks = backing.grown(sectors, base)
    for nexus in opened.attached:
        nexus.paths[lun.lun << 48].blocks = blocks
    backing.unit.capacity_changed(blocks)
    return True


async def add(worker: "Worker", target: str, lun: LunDescriptor) -> bool:
    """One more unit: 3F/0E on those that are there.  Raises OSError when its disk cannot be opened."""
    opened = await _find(worker, target)
    if opened is None:
        return False
    if lun.lun not in opened.backings:  # else it was opened just now, with all there is
        backing = await trio.to_thread.run_sync(
            worker.units.open_another, opened, lun, limiter=worker.threads
        )
        for nexus in opened.attached:
            lane = nexus.paths.any_lane()
            if lane is not None:
                attach(nexus, lun.lun, backing, lane.port, lane.target_port)
        opened.backings[lun.lun] = backing
    _luns_changed(opened, lun.lun)
    return True


async def remove(worker: "Worker", target: str, lun: int) -> bool:
    """A unit less: what was under way there has ended, 3F/0E for the rest.  On return its disk is closed."""
    opened = await _find(worker, target)
    if opened is None or lun not in opened.backings:
        return False
    backing = opened.backings.pop(lun)
    backing.gone = True
    for nexus in opened.attached:
        path = nexus.paths.take(lun)
        path.backing.left(path.lane)
    for nexus in opened.nexuses:
        nexus.post(partial(nexus.lose, lun))
    _luns_changed(opened, lun)
    # Copies from it run as jobs of the unit that they were sent to.
    for other in list(opened.backings.values()):
        await _at_rest(other)
    while not backing.quiet:
        await _at_rest(backing)
    while backing.backgrounds:
        await trio.sleep(BACKGROUND_SECONDS)
    await trio.to_thread.run_sync(worker.units.close_one, backing, limiter=worker.threads)
    return True


async def _find(worker: "Worker", target: str) -> OpenTarget | None:
    return await trio.to_thread.run_sync(worker.units.find, target, limiter=worker.threads)


async def _at_rest(backing: Backing) -> None:
    """Every job that a thread has now is over."""
    over = trio.Event()
    backing.after_running(over.set)
    await over.wait()
    await trio.lowlevel.checkpoint()  # what waited for it begins, or is taken back


def _luns_changed(opened: OpenTarget, changed: int) -> None:
    for number, backing in opened.backings.items():
        if number != changed:
            backing.unit.luns_changed()
