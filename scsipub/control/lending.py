"""Lending: descriptors of tenants' disks for the worker that owns their target.

A worker reads what strangers send, so it is locked out of the folder in which tenants' disks lie.  Here each
of its requests is looked at: is it the owner of that target, has somebody with the target's secret come to
it, is that file one of a unit of it?  What it asks beyond that is refused, and told as what it is: no worker
of ours does so.

Knows the overlays' folder and the rows in memory.  File operations run in threads."""

import logging
import os
from typing import TYPE_CHECKING, Any

import trio

from scsipub.control.placement import Place
from scsipub.storage.files import WAYS
from scsipub.storage.folder import DIRECT
from scsipub.storage.layout import Part
from supervisor.channel import CallError, Reply

if TYPE_CHECKING:
    from scsipub.control.app import Control

log = logging.getLogger("scsipub.lending")

SUFFIXES = (*(f".{part.value}" for part in Part), ".map.new", ".live.new")


class Lending:
    """One per daemon."""

    def __init__(self, control: "Control") -> None:
        self.control = control
        self.directory = str(control.config.overlays_dir)

    async def lend(self, place: Place, params: Any) -> Any:
        """One deed for the worker at ``place``.  Raises CallError, with an errno in its data."""
        deed, target = params["deed"], params["target"]
        if self.control.placement.owners.get(target) != place:
            raise self._refused(place, f"{target} is not its own")
        if (target, place) not in self.control.placement.opened_by:
            # Owner is who asked first: a name is enough for that.
            raise self._refused(place, f"nobody has been let in to {target} there")
        try:
            if deed == "sync":
                await self._do(DIRECT.sync, self.directory)
                return {}
            path = self._path(place, target, params["name"])
            if deed == "open":
                fd = await self._do(DIRECT.open, path, WAYS[params["how"]])
                return Reply({}, fds=[fd])
            if deed == "unlink":
                await self._do(DIRECT.unlink, path)
            elif deed == "replace":
                await self._do(DIRECT.replace, path, self._path(place, target, params["by"]))
            elif deed == "remember":
                await self._do(DIRECT.remember, path, params["words"])
            else:
                raise self._refused(place, f"{deed!r} is nothing that can be asked")
        except OSError as error:
            words = os.strerror(error.errno) if error.errno else str(error)
            raise CallError("os_error", words, {"errno": error.errno or 5}) from None
        return {}

    async def _do(self, deed: Any, *what: Any) -> Any:
        # A descriptor must not get lost between the thread and us.
        with trio.CancelScope(shield=True):
            return await trio.to_thread.run_sync(deed, *what)

    def _path(self, place: Place, target: str, name: str) -> str:
        rentals = self.control.rentals
        known = rentals.known.get(target.removeprefix(rentals.name("")))
        mine = {unit.overlay + suffix for unit in (known.units if known else ()) for suffix in SUFFIXES}
        if name not in mine:
            raise self._refused(place, f"{name!r} is no file of {target}")
        return os.path.join(self.directory, name)

    def _refused(self, place: Place, why: str) -> CallError:
        log.error("worker %d asked for a disk: %s", place[0], why)
        return CallError("refused", why, {"errno": 13})
