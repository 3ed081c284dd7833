"""supervisor/process.py: one worker process.  Its life in a pool is in test_pool.py."""

import os
import socket
import sys

import pytest
import trio

from supervisor.channel import Channel
from supervisor.process import LONGEST_LINE, STDERR_LINES, Worker, spawn

# Says what it was given, on stderr.
LOOK = """
import os, sys
fd = int(sys.argv[1])
print(os.fstat(fd).st_ino, os.environ.get("WORD"), os.getsid(0) == os.getpid(), file=sys.stderr)
ours = [name for name in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + name)]
print(sorted(map(int, ours)) == [0, 1, 2, fd], file=sys.stderr)
print(sys.stdin.read() == "", file=sys.stderr)
"""


async def look(program, *arguments, environment=None):
    """Run a program to its end; its Worker, and the lines that it wrote."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    lines = []
    with trio.fail_after(20), theirs:
        argv = [sys.executable, "-c", program, str(theirs.fileno()), *arguments]
        process = await spawn(argv, theirs, environment)
        worker = Worker(0, 1, process, Channel(ours, {}))
        await worker.read_stderr(lambda index, line: lines.append(line))
        assert await process.wait() == 0
        worker.channel.close()
        return worker, lines, str(socket_inode(theirs))


def socket_inode(line):
    return os.fstat(line.fileno()).st_ino


async def test_a_process_gets_its_channel_and_nothing_else_of_ours():
    with open("/dev/null"):
        _, lines, inode = await look(LOOK, environment={"WORD": "said"})
    assert lines == [f"{inode} said True".encode(), b"True", b"True"]


@pytest.mark.parametrize("count", [STDERR_LINES, STDERR_LINES + 1])
async def test_all_lines_are_passed_on_and_the_last_are_kept(count):
    program = "import sys\nfor n in range(int(sys.argv[2])): print(n, file=sys.stderr)"
    worker, lines, _ = await look(program, str(count))
    assert lines == [str(n).encode() for n in range(count)]
    assert list(worker.stderr) == [str(n) for n in range(count)][-STDERR_LINES:]


@pytest.mark.parametrize("length", [LONGEST_LINE, LONGEST_LINE + 1])
async def test_a_line_too_long_to_keep_is_cut(length):
    """Nobody may make us hold a line without end."""
    program = "import sys\nsys.stderr.write('x' * int(sys.argv[2]))"
    _, lines, _ = await look(program, str(length))
    assert sum(map(len, lines)) == length
    assert max(map(len, lines)) == LONGEST_LINE


async def test_bytes_that_are_no_text_are_kept_readable():
    worker, lines, _ = await look("import os\nos.write(2, b'\\xff\\n')")
    assert lines == [b"\xff"]
    assert list(worker.stderr) == ["\N{REPLACEMENT CHARACTER}"]
