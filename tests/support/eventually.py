"""Waiting for what other processes do: bounded, and failing with words."""

import contextlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any


def eventually(what: Callable[[], Any], seconds: float = 10.0, pause: float = 0.02) -> Any:
    """What ``what()`` says, as soon as that is true.  Errors of sockets count as not yet."""
    deadline = time.monotonic() + seconds
    last: object = None
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, ValueError, KeyError, RuntimeError, subprocess.SubprocessError):
            last = what()
            if last:
                return last
        time.sleep(pause)
    raise AssertionError(f"not within {seconds:g} s: {what} says {last!r}")


def alive(pid: int) -> bool:
    """Whether the process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
