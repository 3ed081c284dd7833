"""Is a disk that lasts still what it was?  Looks at names, lengths and headers, and changes nothing.

For the start of the daemon: thousands of disks, a few system calls each.  Whoever opens the disk later looks
again, at the bits as well."""

import os

from scsipub.storage.base import SECTOR, BaseIdentity
from scsipub.storage.files import close_all, must_not_have_failed, pread_all
from scsipub.storage.layout import HEADER, Header, OverlayPaths, OverlayRefused, Part, bitmap_bytes

_LOOK = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW


def verify_durable(paths: OverlayPaths, sectors: int, base: BaseIdentity) -> None:
    """Raises OverlayRefused with the reason when the files are missing, or are not this disk's."""
    lengths = {Part.DATA: sectors * SECTOR, Part.MAP: HEADER + bitmap_bytes(sectors)}
    for part, length in lengths.items():
        try:
            fd = os.open(paths.path(part), _LOOK)
        except FileNotFoundError:
            raise OverlayRefused(f"{paths.id}.{part.value} is missing") from None
        try:
            if part is Part.MAP:
                Header.unpack(pread_all(fd, HEADER, 0), part).must_fit(part, sectors, base, str(paths.id))
            if os.fstat(fd).st_size != length:
                raise OverlayRefused(f"{paths.id}.{part.value} has the wrong length")
        finally:
            close_all(fd)
    must_not_have_failed(paths)
