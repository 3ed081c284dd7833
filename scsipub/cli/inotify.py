"""Being told by the kernel when something in some directories changes.

Source: inotify(7).  Knows ctypes: Python has no name for these two system calls, and what PyPI has for them
is larger than they are."""

import ctypes
import errno
import os
import select
from collections.abc import Iterable
from pathlib import Path

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF = 0x400, 0x800
_ONLY_DIRECTORIES = 0x01000000
_WHAT = _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF

_libc = ctypes.CDLL(None, use_errno=True)
_READ_BYTES = 64 * 1024


class Watch:
    """Directories, not what is below them.  ``wait`` says whether something happened in one of them."""

    def __init__(self) -> None:
        self.fd = _libc.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK)
        if self.fd < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))

    def add(self, directories: Iterable[Path]) -> bool:
        """Watch these as well; one that is watched already stays so.  False: one cannot be watched.

        One that is not there is passed over: watch its parent, too."""
        every = True
        for directory in directories:
            if _libc.inotify_add_watch(self.fd, os.fsencode(directory), _WHAT | _ONLY_DIRECTORIES) < 0:
                every = every and ctypes.get_errno() in (errno.ENOENT, errno.ENOTDIR)
        return every

    def wait(self, seconds: float) -> bool:
        """At most so long; what happened meanwhile is forgotten then."""
        poll = select.poll()
        poll.register(self.fd, select.POLLIN)
        happened = bool(poll.poll(max(0.0, seconds) * 1000))
        try:
            while len(os.read(self.fd, _READ_BYTES)) > 0:
                pass
        except BlockingIOError:
            pass
        return happened

    def close(self) -> None:
        os.close(self.fd)
