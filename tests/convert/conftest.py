"""One conversion in this process: the whole job, without the process around it."""

import os

import pytest

from scsipub.convert.job import Order, convert_untrusted

MIB = 1 << 20


@pytest.fixture
def convert(tmp_path):
    """``convert(bytes) -> (Converted, bytes of the image)``; whatever is refused is raised."""

    def run(data: bytes, format_="qcow2", compression="none", sha256=None, max_bytes=16 * MIB):
        paths = [tmp_path / name for name in ("source", "target", "scratch")]
        paths[0].write_bytes(data)
        fds = [os.open(path, os.O_RDWR | os.O_CREAT) for path in paths]
        try:
            os.ftruncate(fds[1], 0)
            os.ftruncate(fds[2], 0)
            order = Order(
                source=fds[0],
                target=fds[1],
                scratch=fds[2],
                format=format_,
                compression=compression,
                sha256=sha256,
                max_bytes=max_bytes,
                memory_bytes=512 * MIB,
                cpu_seconds=60,
            )
            return convert_untrusted(order, lambda *said: None), paths[1].read_bytes()
        finally:
            for fd in fds:
                os.close(fd)

    return run
