"""The worker locks itself in, before it reads what strangers send.

Knows ``confine``, and which places a worker needs; tenants' disks are not among them (see ``borrowing``)."""

import logging
from collections.abc import Iterable
from pathlib import Path

from scsipub.confine import confine, of_python
from scsipub.storage.layout import boot_id

log = logging.getLogger("scsipub.worker")


def lock_in(reads: Iterable[str], writes: Iterable[str]) -> None:
    """From here on this process reaches its own code and these places, and nothing else on the machine.

    What strangers send is read here; should one of them ever take the process over, that is all there is.
    Comes before the first thread."""
    boot_id()  # while /proc can be read
    places = [Path(place) for place in reads]
    # Files may be replaced, and links lead elsewhere then: what counts is the folder they are in.
    folders = [place if place.is_dir() else place.parent for place in places]
    folders += [place.resolve().parent for place in places if not place.is_dir()]
    confined = confine([*of_python(), *folders], [Path(place) for place in writes])
    if not confined.version:
        log.warning("the kernel has no Landlock: this process may reach whatever its user may")
    for folder in sorted({str(folder) for folder in folders} & set(confined.missing)):
        log.warning("%s is not there: what appears in it is seen after `scsipub restart` only", folder)
