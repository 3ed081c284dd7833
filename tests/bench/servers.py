"""The two servers that are compared: this daemon, and tgt as Debian starts it.  Same bytes under both.

tgt writes to its file, so it gets a copy of its own; the daemon imports the same image, read-only.
Both stay up while the other is measured; idle, neither uses the processor."""

import contextlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.support import daemon as scsipub_daemon

TARGET = scsipub_daemon.PREFIX + "bench"
TICK = os.sysconf("SC_CLK_TCK")


@attrs.define(eq=False)
class Server:
    """One of the two: where it serves the image, and which processes serve."""

    name: str
    url: str
    control: int  # the process all others descend from

    def pids(self) -> list[int]:
        return scsipub_daemon.descendants(self.control)

    def cpu_seconds(self) -> float:
        """User and system time of all its processes, ended threads included."""
        total = 0
        for pid in self.pids():
            with contextlib.suppress(OSError):
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += int(fields[11]) + int(fields[12])
        return total / TICK


def make_image(path: Path, mebibytes: int) -> None:
    """Random bytes: nothing can be saved by guessing them, and they are in the page cache afterwards."""
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(1 << 20))


@contextlib.contextmanager
def tgt(directory: Path, image: Path) -> Iterator[Server]:
    """tgtd with Debian's defaults: 16 I/O threads per unit, backing store rdwr, write cache on."""
    copy = directory / "tgt.img"
    shutil.copyfile(image, copy)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    channel = str(10_000 + os.getpid() % 20_000)
    log = (directory / "tgtd.log").open("ab")
    process = subprocess.Popen(
        ["tgtd", "-f", "-C", channel, "--iscsi", f"portal=127.0.0.1:{port}"],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )

    def admin(*words: str) -> bool:
        done = subprocess.run(
            ["tgtadm", "-C", channel, "--lld", "iscsi", *words], capture_output=True, check=False
        )
        return done.returncode == 0

    try:
        deadline = time.monotonic() + 10
        while not admin("--mode", "target", "--op", "show"):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"tgtd did not start: {(directory / 'tgtd.log').read_text()}")
            time.sleep(0.05)
        steps = (
            ("--mode", "target", "--op", "new", "--tid", "1", "-T", TARGET),
            ("--mode", "logicalunit", "--op", "new", "--tid", "1", "--lun", "1", "-b", str(copy)),
            ("--mode", "target", "--op", "bind", "--tid", "1", "-I", "ALL"),
        )
        # By itself tgt refuses digests; now it takes them from whoever asks.
        update = ("--mode", "target", "--op", "update", "--tid", "1", "-v", "CRC32C,None", "-n")
        for step in (*steps, (*update, "HeaderDigest"), (*update, "DataDigest")):
            if not admin(*step):
                raise RuntimeError(f"tgtadm {' '.join(step)} failed")
        yield Server("tgt", f"iscsi://127.0.0.1:{port}/{TARGET}/1", process.pid)
    finally:
        process.kill()  # tgtd does not end on SIGTERM while a target is there
        process.wait()
        log.close()


@contextlib.contextmanager
def scsipub(directory: Path, image: Path, *args: str) -> Iterator[Server]:
    """The daemon with its own defaults; reads come from the image, writes go to the session's overlay."""
    state = directory / "scsipub"
    with scsipub_daemon.daemon(state, *args) as running:
        running.cli("image", "add", str(image), "--name", "bench")
        target = running.target("image.bench")
        yield Server("scsipub", f"iscsi://{running.iscsi}/{target}/0", running.process.pid)
