"""The process around a job: confined, bounded, and gone when nobody waits for it."""

import os
import signal
import subprocess
import sys
import textwrap
import threading

import attrs
import pytest

from scsipub.convert.job import Order
from scsipub.convert.running import Reports, command, convert, descriptors
from scsipub.errors import OperatorError
from tests.support.daemon import REPOSITORY
from tests.support.qcow2 import Qcow2

GIB = 1 << 30
EMPTY = Qcow2({0: b"data"}, bits=16, size=200 * GIB, header={"l1_size": 400})


def order(source: int, target: int, **more) -> Order:
    plain = {
        "source": source,
        "target": target,
        "scratch": -1,
        "format": "qcow2",
        "compression": "none",
        "sha256": None,
        "max_bytes": 256 * GIB,
        "memory_bytes": GIB // 2,
        "cpu_seconds": 30,
    }
    return Order(**(plain | more))


@pytest.fixture
def files(tmp_path):
    """``files(bytes) -> (source, target)``, descriptors."""
    opened = []

    def make(data: bytes) -> tuple[int, int]:
        (tmp_path / "source").write_bytes(data)
        opened.append(os.open(tmp_path / "source", os.O_RDONLY))
        opened.append(os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT))
        return opened[-2], opened[-1]

    yield make
    for fd in opened:
        os.close(fd)


def test_an_image_is_converted_and_progress_is_told(files, tmp_path):
    told = []
    source, target = files(bytes(Qcow2({0: b"a" * 4096}).bytes()))

    done = convert(order(source, target), lambda *said: told.append(said))

    assert (tmp_path / "target").read_bytes() == b"a" * 4096 + bytes(63 * 4096)
    assert done.bytes == 64 * 4096
    assert told[0][0] == "converting"


def test_a_refusal_comes_back_in_its_words(files):
    source, target = files(b"nothing of the kind")

    with pytest.raises(OperatorError, match="not a qcow2 file"):
        convert(order(source, target), lambda *said: None)


def test_it_ends_when_its_processor_time_is_spent(files):
    """200 GiB of zeros are hashed for minutes."""
    source, target = files(bytes(EMPTY.bytes()))

    with pytest.raises(OperatorError, match="more than 1 seconds"):
        convert(order(source, target, cpu_seconds=1), lambda *said: None)


def test_it_gets_no_more_memory_than_it_is_given(files):
    """A first table of 32 MiB, in an address space that has no room for it."""
    file = Qcow2({}, bits=9, size=100 * GIB, header={"l1_size": 1 << 22, "l1_offset": 1 << 20})
    source, target = files(bytes(file.bytes()) + bytes((33 << 20) + (1 << 20)))

    with pytest.raises(OperatorError, match="more than 90000000 bytes of memory"):
        convert(order(source, target, memory_bytes=90_000_000), lambda *said: None)


def test_it_ends_with_who_asked_for_it(files):
    source, target = files(bytes(EMPTY.bytes()))
    ours, theirs = os.pipe()
    told = order(source, target)
    process = subprocess.Popen(
        command(told, theirs), stdin=subprocess.PIPE, pass_fds=descriptors(told, theirs), cwd=REPOSITORY
    )
    os.close(theirs)
    assert b"converting" in os.read(ours, 4096)  # it is at work

    process.stdin.close()

    assert process.wait(10) == 75
    os.close(ours)


def test_a_progress_that_raises_ends_it(files):
    """Ctrl-C, and an import that is cancelled."""
    source, target = files(bytes(EMPTY.bytes()))
    threads = threading.active_count()

    def stop(*said):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(order(source, target), stop)
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('new', 'w')",
        "os.stat('/etc/passwd')",
        "os.listdir('/')",
        "os.dup(0)",
        "os.pipe()",
        "os.fork()",
        "os.execv('/bin/true', ['true'])",
        "os.kill(os.getppid(), 0)",
        "os.unlink('/tmp/no-such-file')",
        "os.setuid(0)",
        "socket.socket()",
        "socket.socketpair()",
        "1 / (ctypes.CDLL(None).ptrace(0, 0, 0, 0) + 1)",
    ],
)
def test_a_confined_process_can_do_nothing_but_read_and_write(attempt, tmp_path):
    """Whatever takes over the converter finds itself here."""
    program = textwrap.dedent(f"""
        import ctypes, os, socket, sys
        from scsipub.convert.sandbox import confine
        confine(memory_bytes=1 << 29, cpu_seconds=10, file_bytes=1 << 20)
        try:
            {attempt}
        except OSError as error:
            os.write(1, os.strerror(error.errno).encode())
        except ZeroDivisionError:
            os.write(1, b"Operation not permitted")
        else:
            os.write(1, b"done")
        os._exit(0)
    """)
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        timeout=30,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
    )

    assert done.stdout in (b"Operation not permitted", b"Too many open files"), done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_backing_file_is_named_in_the_refusal_and_never_opened(files, tmp_path):
    """What the kernel was asked, from the first instruction to the last."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret")
    name = str(secret).encode()
    file = Qcow2({}, header={"backing_offset": 512, "backing_size": len(name)}).bytes()
    file[512 : 512 + len(name)] = name
    source, target = files(bytes(file))
    ours, theirs = os.pipe()
    waiting, held = os.pipe()
    told = order(source, target)
    trace = tmp_path / "trace"

    subprocess.run(
        ["strace", "-f", "-e", "trace=%file,%network,%process", "-o", str(trace), *command(told, theirs)],
        pass_fds=descriptors(told, theirs),
        stdin=waiting,
        cwd=REPOSITORY,
        check=True,
        timeout=60,
    )
    os.close(theirs)

    assert b"stands on another file" in os.read(ours, 4096)
    for fd in (ours, waiting, held):
        os.close(fd)
    calls = trace.read_text().splitlines()
    assert any("openat" in call for call in calls)
    assert [call for call in calls if "secret" in call and "execve" not in call] == []
    assert [call for call in calls if "connect(" in call or "socket(" in call] == []


@pytest.mark.parametrize(
    ("said", "returncode", "words"),
    [
        (b"", 0, "said nothing"),
        (b"", -signal.SIGSEGV, "ended with -11"),
        (b"", -signal.SIGKILL, "more than 30 seconds"),
        (b'{"done": {"format": "qcow2", "bytes": 1, "sha256": "a"}}\n', -signal.SIGSEGV, "ended with -11"),
        (b'{"done": {"path": "/etc/passwd"}}\n', 0, "cannot say"),
        (b"[1]\n", 0, "cannot say"),
        (b'{"doing": "x", "in": "y"}\n', 0, "cannot say"),
        (b"no JSON\n", 0, "cannot say"),
        (b"x" * 70_000, 0, "cannot say"),
        (b'{"refused": 1}\n', 0, "cannot say"),
    ],
)
def test_what_a_converter_says_is_looked_at_too(said, returncode, words):
    """It has read strangers' bytes: it may not be ours any more."""
    told = attrs.evolve(order(0, 0))
    with pytest.raises(OperatorError, match=words):
        reports = Reports(lambda *said: None)
        reports.feed(said)
        reports.outcome(returncode, told)
