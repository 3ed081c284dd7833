"""The black box: whose turn it is just now, where control can read it after this process has died.

A page of memory that both share.  Written twice for each turn, so it is bytes and no more.  Knows nothing."""

import mmap
import os

NAME = 16  # bytes of a session's id
NOBODY = bytes(NAME)


def name_of(session: str) -> bytes:
    """As it is written."""
    return session.encode()[:NAME].ljust(NAME, b"\0")


class BlackBox:
    """One per worker.  Assign to ``page[:NAME]``: a call for each turn would cost more than the writing."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("serving")
        os.ftruncate(self.fd, mmap.PAGESIZE)
        self.page = mmap.mmap(self.fd, mmap.PAGESIZE)
