"""What an image may come as: its format, its packing, and who says which it is.

A format is declared once: by a person, by the suffix of a file's name, or, where both are silent, by the
first bytes at the import.  From then on it stands in the image's record, and nobody looks at the bytes again:
a raw image that begins like a qcow2 one, and was declared raw, is served as the raw bytes it is.

Values only."""

import os
import re

import attrs

from scsipub.errors import OperatorError
from scsipub.storage.decompress import COMPRESSIONS

# Served as they are.  What a sector on the original medium was: the image is filled up to a multiple of it.
RAW = {"raw": 512, "iso": 2048}
# Made into raw bytes when they come in, by a program of its own (``scsipub.convert``).
CONTAINERS = ("qcow2", "vmdk")
FORMATS = (*RAW, *CONTAINERS)

_SUFFIX_FORMATS = {name: name for name in FORMATS} | {"bin": "raw", "dd": "raw"}
_SAYS_NOTHING = {"img", "disk", "image"}  # what many call a raw image, and some a qcow2 one
_SUFFIX_PACKING = {"gz": "gz", "xz": "xz", "bz2": "bz2", "zst": "zst", "zstd": "zst"}
_FOREIGN = {"qcow", "qed", "vdi", "vhd", "vpc", "vhdx", "hdd", "ova", "zip", "7z", "tar", "tgz"}

HEAD_BYTES = 512  # how much of an image ``detected`` wants to see
_MAGIC = (
    (0, b"QFI\xfb", "qcow2"),
    (0, b"KDMV", "vmdk"),
    (0, b"COWD", "vmdk"),
    (0, b"# Disk DescriptorFile", "vmdk"),
    (0, b"vhdxfile", "vhdx"),
    (0, b"conectix", "vhd"),
    (64, b"\x7f\x10\xda\xbe", "vdi"),
)


@attrs.frozen
class Declared:
    """What is said of an image before anybody looks at it.  ``format`` None: nothing."""

    name: str
    format: str | None
    compression: str


def declared_by(file_name: str) -> Declared:
    """Read ``Debian_12.iso.xz`` as an ISO image packed with xz, to be called ``debian-12``.

    A suffix that is not known belongs to the name and declares nothing; OperatorError for formats that would
    be served as garbage."""
    stem = os.path.basename(file_name).lower()
    compression, format_ = "none", None
    head, dot, suffix = stem.rpartition(".")
    if dot and suffix in _SUFFIX_PACKING:
        compression, stem = _SUFFIX_PACKING[suffix], head
        head, dot, suffix = stem.rpartition(".")
    if dot and suffix in _FOREIGN:
        raise OperatorError(
            f"{file_name} is a {suffix} file, and these are not taken.",
            "Make a raw image of it, for example with: qemu-img convert -O raw IN OUT; "
            "or declare it raw to serve its bytes as they are.",
        )
    if dot and suffix in _SUFFIX_FORMATS:
        format_, stem = _SUFFIX_FORMATS[suffix], head
    elif dot and suffix in _SAYS_NOTHING:
        stem = head
    name = re.sub(r"[^a-z0-9.-]+", "-", stem).strip(".-")[:63].rstrip(".-")
    return Declared(name, format_, compression)


def detected(head: bytes) -> str:
    """What the first bytes look like.  For what nobody has declared, once, when it comes in."""
    for offset, magic, format_ in _MAGIC:
        if head[offset : offset + len(magic)] == magic:
            return format_
    return "raw"


def check_format(format_: str | None, compression: str) -> None:
    """OperatorError when there is no such format or packing."""
    if format_ is not None and format_ not in FORMATS:
        raise OperatorError(
            f"The format {format_!r} is not taken.",
            f"Use one of: {', '.join(FORMATS)}; others become raw with: qemu-img convert -O raw IN OUT.",
        )
    if compression not in COMPRESSIONS:
        raise OperatorError(
            f"The packing {compression!r} is not known.", f"Use one of: {', '.join(COMPRESSIONS)}."
        )
