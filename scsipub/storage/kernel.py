"""What Linux can do with files and Python's ``os`` cannot say: punch holes, reserve room, ask for residency.

Source: fallocate(2), mincore(2), mmap(2), statfs(2).  Knows the C library, and nothing of disks.

Each function raises ``OSError`` as ``os`` would.  All of them let other threads run meanwhile."""

import ctypes
import errno
import mmap
import os
import sys

_KEEP_SIZE = 1
_PUNCH_HOLE = 2
_PROT_NONE = 0  # mincore needs a mapping, not permission to look through it: no SIGBUS can come of it
_MAP_SHARED = 1
_MAP_FAILED = ctypes.c_void_p(-1).value

_libc = ctypes.CDLL(None, use_errno=True)
_fallocate = _libc.fallocate64
_fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]
_mmap = _libc.mmap64
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64]
_mmap.restype = ctypes.c_void_p
_munmap = _libc.munmap
_munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_mincore = _libc.mincore
_mincore.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p]

_fstatfs = _libc.fstatfs
_fstatfs.argtypes = [ctypes.c_int, ctypes.c_char_p]

NOT_SUPPORTED = frozenset({errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL})


def _change(fd: int, mode: int, offset: int, length: int) -> None:
    while _fallocate(fd, mode, offset, length):
        code = ctypes.get_errno()
        if code != errno.EINTR:
            raise OSError(code, os.strerror(code))


def punch(fd: int, offset: int, length: int) -> None:
    """Make the bytes zero and give whole blocks back; the length of the file stays."""
    _change(fd, _PUNCH_HOLE | _KEEP_SIZE, offset, length)


def reserve(fd: int, offset: int, length: int) -> None:
    """Have room for the bytes allocated, so that a later write there cannot find the file system full."""
    _change(fd, _KEEP_SIZE, offset, length)


# Their pages are in memory, or swapped out by an operator who chose so; they know no RWF_NOWAIT.
_IN_MEMORY = frozenset({0x01021994, 0x858458F6})  # tmpfs, ramfs


def nowait_flags(fd: int) -> int:
    """What ``preadv`` must be told so that it does not wait for a medium."""
    answer = ctypes.create_string_buffer(256)  # struct statfs is 120 bytes long
    if _fstatfs(fd, answer):
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    kind = int.from_bytes(answer.raw[: ctypes.sizeof(ctypes.c_long)], sys.byteorder)
    return 0 if kind in _IN_MEMORY else os.RWF_NOWAIT


class Residency:
    """Which pages of one file are in the page cache, so that reading them would not wait for the medium.

    The kernel tells the truth only to the owner of the file or to who may write it; to others every page
    looks resident.  That costs a stall, never wrong bytes."""

    __slots__ = ("_address", "_length", "_pages")

    def __init__(self, fd: int, length: int) -> None:
        self._length = length
        self._pages = ctypes.create_string_buffer(0)
        address = _mmap(None, length, _PROT_NONE, _MAP_SHARED, fd, 0) if length else None
        if address == _MAP_FAILED:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._address: int | None = address

    def resident(self, offset: int, length: int) -> bool:
        """Is every page under the range cached right now?  False for a range that ends beyond the file."""
        if self._address is None or offset + length > self._length:
            return False
        start = offset & -mmap.PAGESIZE
        size = offset + length - start
        pages = (size + mmap.PAGESIZE - 1) // mmap.PAGESIZE
        answer = self._pages
        if len(answer) < pages:
            answer = self._pages = ctypes.create_string_buffer(pages)
        if _mincore(self._address + start, size, answer):
            return False
        # Only the lowest bit of each byte means anything; the others are reserved and zero on Linux.
        return answer.raw.count(1, 0, pages) == pages

    def close(self) -> None:
        if self._address is not None:
            _munmap(self._address, self._length)
            self._address = None
