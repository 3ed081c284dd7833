"""What a converter may do: read and write the descriptors that it was given, and nothing else.

Source: setrlimit(2), prctl(2), seccomp(2).  Bounds on memory, processor and file size; no new descriptor of
any kind (RLIMIT_NOFILE 0); no privilege ever; and, on the machines whose numbers we know, a list of system
calls beyond which everything is EPERM.  It cannot be undone from inside."""

import ctypes
import os
import platform
import resource
import struct

from scsipub.errors import OperatorError

_PR_SET_NO_NEW_PRIVS = 38
_SET_MODE_FILTER, _ALL_THREADS = 1, 1
_ALLOW, _KILL, _ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM = 1

# One instruction of the kernel's packet filter: code, jump if true, if false, operand.
_INSTRUCTION = struct.Struct("HBBI")
_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE = 0, 4  # offsets in struct seccomp_data

# audit number of the machine, number of seccomp(2), and what a converter calls:
# read write pread64 pwrite64 close fstat lseek ftruncate, memory, futex, signals, clocks, end.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        317,
        (0, 1, 3, 5, 8, 9, 10, 11, 12, 13, 14, 15, 17, 18, 20, 24, 25, 28, 35, 39, 60, 77, 131, 186, 202, 228,
         230, 231, 318, 334, 449),
    ),
    "aarch64": (
        0xC00000B7,
        277,
        (46, 57, 62, 63, 64, 66, 67, 68, 80, 93, 94, 98, 101, 113, 115, 124, 132, 134, 135, 139, 172, 178,
         214, 215, 216, 222, 226, 233, 278, 293, 449),
    ),
}  # fmt: skip


def bound(*, memory_bytes: int, cpu_seconds: int, file_bytes: int, descriptors: int) -> None:
    """Limits only, and no privileges to gain: for what must still go out into the world."""
    for what, most in (
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_FSIZE, file_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_NOFILE, descriptors),
    ):
        _, hard = resource.getrlimit(what)
        if hard != resource.RLIM_INFINITY:
            most = min(most, hard)
        resource.setrlimit(what, (most, most))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise _impossible()


def confine(*, memory_bytes: int, cpu_seconds: int, file_bytes: int) -> None:
    """From here on.  Everything must be imported and open; OperatorError when the system will not have it."""
    bound(memory_bytes=memory_bytes, cpu_seconds=cpu_seconds, file_bytes=file_bytes, descriptors=0)
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    machine = _MACHINES.get(platform.machine())
    if machine is not None:
        _allow_only(ctypes.CDLL(None, use_errno=True), *machine)


def _allow_only(libc: ctypes.CDLL, architecture: int, seccomp: int, calls: tuple[int, ...]) -> None:
    program = [
        _INSTRUCTION.pack(_LOAD, 0, 0, _ARCHITECTURE),
        _INSTRUCTION.pack(_EQUAL, 1, 0, architecture),
        _INSTRUCTION.pack(_RETURN, 0, 0, _KILL),
        _INSTRUCTION.pack(_LOAD, 0, 0, _NUMBER),
        *(
            _INSTRUCTION.pack(_EQUAL, len(calls) - number, 0, call)
            for number, call in enumerate(calls)
        ),
        _INSTRUCTION.pack(_RETURN, 0, 0, _ERRNO | _EPERM),
        _INSTRUCTION.pack(_RETURN, 0, 0, _ALLOW),
    ]  # fmt: skip
    instructions = ctypes.create_string_buffer(b"".join(program))
    header = struct.pack("HxxxxxxP", len(program), ctypes.addressof(instructions))
    if libc.syscall(seccomp, _SET_MODE_FILTER, _ALL_THREADS, header):
        raise _impossible()


def _impossible() -> OperatorError:
    why = os.strerror(ctypes.get_errno())
    return OperatorError(
        f"The converter cannot be confined on this system: {why}.",
        "It needs a Linux with seccomp; images of foreign formats are not taken without.",
    )
