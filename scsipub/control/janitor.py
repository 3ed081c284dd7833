"""The janitor, and the reaper: disks that nobody came back for go.

Knows files through ``storage.broom``, whose rules decide; brings the clock and what is known of overlays.
The reaper removes parked disks the moment their grace is over.  The janitor comes every ten minutes, or when
called, and looks for whatever else was left behind: after a kill of control itself, for example."""

import logging
import time
from time import monotonic
from typing import TYPE_CHECKING

import trio

from scsipub.storage.broom import Swept, look, sweep
from scsipub.storage.files import remove_files
from scsipub.storage.layout import OverlayId, OverlayPaths
from scsipub.storage.sweep import Known, Rules
from scsipub.store.errors import StoreError

if TYPE_CHECKING:
    from scsipub.control.app import Control

log = logging.getLogger("scsipub.janitor")

REAP_SECONDS = 1.0
# Workers end within five seconds when their control process is killed.
LEFT_OVER_SECONDS = 10.0


class Janitor:
    """One per daemon."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.busy = trio.Lock()
        self.last: tuple[float, Swept] | None = None  # when, in seconds of the epoch, and what came of it
        # Overlays that lay here when we started and could not go: a worker of the daemon before us still
        # held them.  It is ending, and nobody will ever ask for them.
        self.left_over: frozenset[str] = frozenset()

    async def reap(self) -> None:
        """For ever: remove what has waited for its grace."""
        while True:
            await trio.sleep(REAP_SECONDS)
            gone = [p for p in self.control.placement.expired(monotonic()) if p.written]
            if gone:
                overlays = [lun.overlay for parked in gone for lun in parked.target.luns]
                await trio.to_thread.run_sync(self._remove, overlays)

    def _remove(self, overlays: list[str]) -> None:
        directory = str(self.control.config.overlays_dir)
        for name in overlays:
            overlay = OverlayId.parse(name)
            if overlay is not None:
                try:
                    remove_files(OverlayPaths(directory, overlay))
                except OSError as error:  # a file system that fails must not end the daemon as well
                    log.warning("cannot remove %s: %s", name, error)

    async def tick(self) -> None:
        """For ever: sweep now and then."""
        seconds = self.control.config.limits.janitor_seconds
        pause = min(seconds, LEFT_OVER_SECONDS) if self.left_over else seconds
        while True:
            await trio.sleep(pause)
            pause = seconds
            try:
                await self.run()
            except OSError as error:
                log.warning("cannot sweep: %s", error)

    async def run(self) -> Swept:
        """Sweep once."""
        limits = self.control.config.limits
        directory = str(self.control.config.overlays_dir)
        rules = Rules(orphan_age=limits.orphan_age_seconds)

        def known() -> Known | None:
            # Asked after the directory was read, and on the loop, where placement lives.
            return trio.from_thread.run(self._known)

        async with self.busy:
            swept = await trio.to_thread.run_sync(lambda: sweep(directory, known, time.time(), rules))
        self.last = time.time(), swept
        for doubt in swept.doubts:
            log.warning("left alone: %s", doubt)
        await self.control.imports.sweep()
        if swept.removed:
            log.info("swept %d overlays", len(swept.removed))
        return swept

    async def _known(self) -> Known | None:
        """None: the store does not say, so nothing is swept."""
        try:
            rented = await self.control.rentals.overlays()
        except StoreError as error:
            log.warning("cannot sweep: %s", error)
            return None
        expired = [lun.overlay for p in self.control.placement.expired(monotonic()) for lun in p.target.luns]
        kept = {*self.control.placement.overlays_in_use(), *self.control.shared_overlays(), *rented}
        return Known(kept=kept, expired=[*expired, *self.left_over])


def clear_disposable(directory: str) -> int:
    """Remove every disposable overlay that nobody holds: at start and at the end there are no owners."""
    return len(sweep(directory, lambda: Known(kept=()), time.time() + 1.0, Rules(orphan_age=0.0)).removed)


def left_over(directory: str) -> frozenset[str]:
    """Disposable overlays that are there: ask right after ``clear_disposable``."""
    return frozenset(str(one.id) for one in look(directory, time.time())[0] if one.id.kind == "d")
