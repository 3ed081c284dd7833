"""A process locks itself in: from then on it reaches so many places of the file system and no other.

Source: landlock(7), landlock_create_ruleset(2), landlock_add_rule(2), landlock_restrict_self(2).  Knows the
kernel's numbers and nothing of what the process does.  What is open stays open, and a descriptor that
somebody else passes works as it did for them: that is how one gets at what is not on the list.

No library: the one on PyPI is a development version of 2022, and these are three system calls."""

import ctypes
import importlib.util
import os
import struct
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import attrs

_CREATE, _ADD, _RESTRICT = 444, 445, 446  # the same number on every architecture
_ASK_VERSION = 1
_PATH_BENEATH = 1
_NO_NEW_PRIVS = 38  # prctl(2)

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_FILE, _MAKE_REG = 1, 2, 4, 8, 32, 256
_TRUNCATE = 1 << 14
# How many of the file system's rights each version of the interface knows.
_RIGHTS = {1: 13, 2: 14, 3: 15, 4: 15, 5: 16}
_NET_SINCE, _TCP = 4, 0b11  # to bind and to connect
_SCOPE_SINCE, _SCOPE = 6, 0b11  # abstract sockets and signals of others

_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_WRITE = _READ_FILE | _READ_DIR | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG | _TRUNCATE


def of_python() -> Iterator[Path]:
    """What a Python program of ours reads while it runs: its interpreter, its packages, their libraries."""
    for place in (sys.prefix, sys.base_prefix, "/usr/lib", "/usr/share/zoneinfo", "/lib", "/lib64"):
        yield Path(place)
    for package in ("scsipub", "supervisor"):
        found = importlib.util.find_spec(package)
        yield from (Path(folder) for folder in (found and found.submodule_search_locations) or ())
    for file in ("/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom"):
        yield Path(file)


@attrs.frozen
class Confined:
    """What came of it.  ``version`` 0: the kernel does not know how, and nothing is restricted."""

    version: int
    missing: tuple[str, ...] = ()  # places that are not there, and so cannot be reached later either

    @property
    def network(self) -> bool:
        """No TCP port can be bound or connected to any more."""
        return self.version >= _NET_SINCE


def version() -> int:
    """Which version of Landlock the kernel speaks; 0: none, or it is turned off."""
    return max(0, _call(_CREATE, None, ctypes.c_size_t(0), _ASK_VERSION))


def confine(readable: Iterable[Path], writable: Iterable[Path]) -> Confined:
    """Leave this process only these places, for reading (and running), or for files of its own.

    For good, and for everything it starts.  A place is a directory with all below it, or a file.  In
    ``writable`` ones files may be made, read, written and removed, but no directories, links or devices.
    New TCP connections are refused, too, where the kernel knows that; sockets that are passed work.

    Raises RuntimeError when the process has threads already: they would keep their freedom."""
    spoken = version()
    if not spoken:
        return Confined(0)
    if threading.active_count() > 1:
        raise RuntimeError("confine() comes before the first thread")
    handled = (1 << _RIGHTS.get(spoken, _RIGHTS[max(_RIGHTS)])) - 1
    attributes = struct.pack("=Q", handled)
    if spoken >= _NET_SINCE:
        attributes += struct.pack("=Q", _TCP)
    if spoken >= _SCOPE_SINCE:
        attributes += struct.pack("=Q", _SCOPE)
    ruleset = _must(_CREATE, attributes, ctypes.c_size_t(len(attributes)), 0)
    missing = []
    try:
        for places, rights in ((readable, _READ), (writable, _WRITE)):
            for place in dict.fromkeys(places):
                try:
                    fd = os.open(place, os.O_PATH | os.O_CLOEXEC)
                except OSError:
                    missing.append(str(place))
                    continue
                try:
                    allowed = rights & handled & (~0 if os.path.isdir(f"/proc/self/fd/{fd}") else _ON_FILES)
                    _must(_ADD, ruleset, _PATH_BENEATH, struct.pack("=Qi", allowed, fd), 0)
                finally:
                    os.close(fd)
        if ctypes.CDLL(None, use_errno=True).prctl(_NO_NEW_PRIVS, 1, 0, 0, 0):
            raise OSError(ctypes.get_errno(), "prctl")
        _must(_RESTRICT, ruleset, 0)
    finally:
        os.close(ruleset)
    return Confined(spoken, tuple(missing))


def _call(number: int, *arguments: object) -> int:
    # The C library has no functions for these.
    syscall = ctypes.CDLL(None, use_errno=True).syscall
    syscall.restype = ctypes.c_long
    return int(syscall(ctypes.c_long(number), *arguments))


def _must(number: int, *arguments: object) -> int:
    done = _call(number, *arguments)
    if done < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return done
