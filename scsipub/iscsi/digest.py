"""CRC32C as a header or data digest.

Source: RFC 7143 §13.1; the four bytes travel with the lowest first.  The sum is made by the crc32c package,
which uses the processor's CRC32 instruction and takes any buffer as it lies: 4 KiB in 0.3 µs.  google-crc32c
takes ``bytes`` only, so what lies in a larger buffer has to be copied for it.

Hot code calls ``crc32c.crc32c`` itself, with the third argument 0: the lock of the interpreter is not given
away, because getting it back from a thread that works costs more than any sum."""

import struct

from crc32c import crc32c as _crc32c

DIGEST = struct.Struct("<I")  # as it stands on the wire

# The sum of anything with its right digest behind it: one call tells whether a digest fits.
RIGHT = 0x48674BC7


def crc32c(data: bytes | bytearray | memoryview, before: int = 0) -> int:
    """The checksum of ``data``, going on from that of what came ``before`` it."""
    return _crc32c(data, before, 0)


def digest(*parts: bytes | bytearray | memoryview) -> bytes:
    """The four bytes that follow these parts on the wire, pad bytes included among them."""
    crc = 0
    for part in parts:
        crc = crc32c(part, crc)
    return DIGEST.pack(crc)
