"""The disks of rented targets: their files, made, looked at, made longer and removed.

Knows the overlays' directory and the image store; no rows, no workers.  Everything here may block."""

import contextlib

from scsipub.control.catalogue import Catalogue
from scsipub.control.rented import base_of
from scsipub.storage.base import SECTOR
from scsipub.storage.durable import create_durable
from scsipub.storage.files import allocated, failures, forget_failure, remove_files
from scsipub.storage.folder import sync_directory
from scsipub.storage.grow import grow_durable
from scsipub.storage.layout import OverlayId, OverlayPaths, OverlayRefused
from scsipub.storage.verify import verify_durable
from scsipub.store.records import Target, Unit


class RentedDisks:
    """One per daemon."""

    def __init__(self, directory: str, catalogue: Catalogue) -> None:
        self.directory = directory
        self.catalogue = catalogue

    def paths(self, unit: Unit) -> OverlayPaths:
        return OverlayPaths(self.directory, OverlayId("t", unit.id, unit.lun))

    def make(self, target: Target) -> None:
        """On return they survive a power failure."""
        for unit in target.units:
            create_durable(self.paths(unit), unit.size // SECTOR, base_of(unit))

    def make_one(self, unit: Unit) -> None:
        """The same of one unit."""
        create_durable(self.paths(unit), unit.size // SECTOR, base_of(unit))

    def remove_one(self, unit: Unit) -> None:
        """On return it does not come back."""
        remove_files(self.paths(unit))
        sync_directory(self.directory)

    def used(self, target: Target) -> dict[str, int]:
        """Bytes of our disks that each unit takes, by its identity; holes take none.  0: there is no file."""
        return {unit.id: allocated(self.paths(unit)) for unit in target.units}

    def remove(self, target: Target) -> None:
        """On return they do not come back."""
        for unit in target.units:
            remove_files(self.paths(unit))
        sync_directory(self.directory)

    def trouble(self, unit: Unit) -> str:
        """Why this unit cannot be served; "" when it can.  Looks, and changes nothing."""
        if unit.image is not None:
            image = self.catalogue.images.get(unit.image)
            if image is None:
                return f"LUN {unit.lun}: image {unit.image} is missing"
            if (image.sha256, image.bytes) != (unit.image_sha256, unit.base_bytes):
                return f"LUN {unit.lun}: image {unit.image} is another one now"
        try:
            verify_durable(self.paths(unit), unit.size // SECTOR, base_of(unit))
        except OverlayRefused as refused:
            return f"LUN {unit.lun}: {refused.args[1]}"
        except OSError as error:
            return f"LUN {unit.lun}: {error.strerror}"
        return ""

    def failed(self) -> dict[str, str]:
        """By unit: why the medium of its disk has failed."""
        return failures(self.directory)

    def forget_failures(self, target: Target) -> None:
        """An operator has looked."""
        for unit in target.units:
            forget_failure(self.paths(unit))

    def grow(self, target: Target) -> None:
        """As long as the rows say."""
        for unit in target.served:
            grow_durable(self.paths(unit), unit.size // SECTOR, base_of(unit))

    def mend(self, target: Target) -> dict[str, str]:
        """What is wrong with which unit, after a growth that was interrupted has been finished."""
        wrong = self._wrong(target)
        if wrong:
            with contextlib.suppress(OSError):  # ``trouble`` says what it is
                self.grow(target)
            wrong = self._wrong(target)
        return wrong

    def _wrong(self, target: Target) -> dict[str, str]:
        return {unit.id: wrong for unit in target.served if (wrong := self.trouble(unit))}
