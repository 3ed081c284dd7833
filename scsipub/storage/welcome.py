"""The two images of a fresh install, so that every kind of target works with nothing to download.

``empty`` is zeros; ``readme`` is a FAT volume with a README.TXT that a person can open.  Both are the same
bytes on every install."""

import io
import os
from collections.abc import Callable

from scsipub.storage.fat import fat16
from scsipub.storage.images import Image, ImageStore

MIB = 1 << 20
SIZE = 16 * MIB

# Once this file is there the images are never made again: who removed them meant it.
_MARK = ".welcomed"

README = """\
Welcome to scsipub.

You are looking at a disk that lives on another machine: it came over the
network by iSCSI (RFC 7143), and your computer takes it for one of its own.

You may write to it, format it, partition it, break it.  Everything you
write goes to a private overlay that only your session sees; the image
below is never changed, and when you log out the overlay is gone.

What to try next:

  - the target ending in ":blank" is an empty disk of your own;
  - the target ending in ":multi" brings two disks at once;
  - "scsipub image add FILE" on the server offers an image of yours.
"""


def readme_image() -> bytes:
    """The FAT volume, whole."""
    image = bytearray(SIZE)
    for offset, data in fat16(
        SIZE // 512, "SCSIPUB", {"README.TXT": README.replace("\n", "\r\n").encode("ascii")}
    ):
        image[offset : offset + len(data)] = data
    return bytes(image)


# name -> what makes it
IMAGES: dict[str, Callable[[], bytes]] = {
    "empty": lambda: bytes(SIZE),
    "readme": readme_image,
}


def welcome(store: ImageStore, imported: str = "") -> list[Image]:
    """Make the images of a fresh install; nothing if this directory has been welcomed before."""
    os.makedirs(store.directory, mode=0o755, exist_ok=True)
    mark = os.path.join(store.directory, _MARK)
    if os.path.exists(mark):
        return []
    made = [
        store.add(io.BytesIO(make()), name, imported=imported, origin="made by scsipub")
        for name, make in IMAGES.items()
        if store.get(name) is None
    ]
    os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
    return made
