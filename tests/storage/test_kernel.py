"""What the kernel is asked beyond ``os``: holes, room, residency."""

import os
import pathlib
from collections.abc import Iterator

import pytest

from scsipub.storage import kernel

MIB = 1 << 20


@pytest.fixture
def fd(tmp_path: pathlib.Path) -> Iterator[int]:
    number = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    os.ftruncate(number, MIB)
    yield number
    os.close(number)


def test_a_hole_is_exactly_as_long_as_asked_and_gives_blocks_back(fd: int) -> None:
    os.pwrite(fd, b"x" * 65536, 0)
    before = os.fstat(fd).st_blocks

    kernel.punch(fd, 512, 16384)

    assert os.pread(fd, 65536, 0) == b"x" * 512 + bytes(16384) + b"x" * (65536 - 512 - 16384)
    assert os.fstat(fd).st_blocks <= before - 3 * 8
    assert os.fstat(fd).st_size == MIB


def test_room_is_set_aside_without_changing_a_byte_or_the_length(fd: int) -> None:
    os.pwrite(fd, b"x", 100)
    kernel.reserve(fd, 0, 2 * MIB)

    assert os.fstat(fd).st_blocks * 512 >= 2 * MIB
    assert os.fstat(fd).st_size == MIB
    assert os.pread(fd, MIB, 0) == bytes(100) + b"x" + bytes(MIB - 101)


@pytest.mark.parametrize("act", [kernel.punch, kernel.reserve])
def test_errors_are_told_as_os_would(act: object) -> None:
    assert callable(act)
    with pytest.raises(OSError, match="Bad file descriptor"):
        act(-1, 0, 512)


def test_what_was_written_is_resident_a_hole_never_read_is_not(fd: int) -> None:
    os.pwrite(fd, b"x" * 8192, 4096)
    file = kernel.Residency(fd, MIB)

    assert file.resident(4096, 8192)
    assert file.resident(5000, 10)
    assert not file.resident(4096, 8193)
    assert not file.resident(4095, 2)
    assert not file.resident(MIB - 4096, 8192)  # ends beyond the file
    os.pread(fd, 4096, 12288)
    assert file.resident(4096, 12288)
    file.close()
    assert not file.resident(4096, 8192)
    file.close()


def test_files_in_memory_are_read_as_they_are(fd: int) -> None:
    """tmpfs refuses RWF_NOWAIT, and never waits for a medium; elsewhere the flag does what it says."""
    assert kernel.nowait_flags(fd) in (0, os.RWF_NOWAIT)
    memory = os.memfd_create("test")
    assert kernel.nowait_flags(memory) == 0
    os.close(memory)
    with pytest.raises(OSError, match="Bad file descriptor"):
        kernel.nowait_flags(-1)


def test_an_empty_file_has_nothing_resident(tmp_path: pathlib.Path) -> None:
    (tmp_path / "empty").write_bytes(b"")
    fd = os.open(tmp_path / "empty", os.O_RDONLY)
    file = kernel.Residency(fd, 0)

    assert not file.resident(0, 1)
    file.close()
    os.close(fd)
