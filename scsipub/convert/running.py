"""The parent's end of a conversion: the command line, the reports, and what the process's end means.

Knows processes.  ``convert`` waits for one; whoever has an event loop starts the same command line and
feeds ``Reports``."""

import contextlib
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import cattrs

from scsipub.convert.job import Converted, Order
from scsipub.errors import OperatorError

LONGEST_REPORT = 64 * 1024
_CLEANUP_SECONDS = 5.0

Done = TypeVar("Done")
Progress = Callable[[str, int, int, int], None]  # what is being done, bytes in, of how many, bytes out


def command(order: Order, report: int) -> list[str]:
    """What to run.  The descriptors in ``order`` and ``report`` must be passed along."""
    words = json.dumps(attrs.asdict(order))
    return [sys.executable, "-m", "scsipub", "convert", "--order", words, "--report", str(report)]


def descriptors(order: Order, report: int) -> tuple[int, ...]:
    return tuple(fd for fd in (order.source, order.target, order.scratch, report) if fd >= 0)


class Reports:
    """Lines of JSON as they come in any pieces; the last one is the verdict."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._rest = b""
        self.verdict: dict[str, Any] | None = None

    def feed(self, data: bytes) -> None:
        """What has come.  The process reads strangers' bytes, so what it says is looked at too."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LONGEST_REPORT:
            raise _nonsense()
        for line in lines:
            try:
                said = json.loads(line)
                if not isinstance(said, dict):
                    raise ValueError
                if "doing" in said:
                    numbers = (int(said[key]) for key in ("in", "of", "out"))
                    self._progress(str(said["doing"])[:20], *numbers)
                else:
                    self.verdict = said
            except (ValueError, TypeError, KeyError):
                raise _nonsense() from None

    def outcome(self, returncode: int | None, order: Order) -> Converted:
        """What it ended with, once it has ended; OperatorError when that is no image."""
        return self.done(returncode, order.cpu_seconds, Converted)

    def done(self, returncode: int | None, seconds: float, kind: type[Done]) -> Done:
        """The same for any helper.  ``returncode`` None: it was late."""
        verdict = self.verdict or {}
        try:
            if "refused" in verdict:
                what, do = (str(words)[:1000] for words in verdict["refused"])
                raise OperatorError(what, do)
            if "done" in verdict and returncode == 0:
                return cattrs.structure(verdict["done"], kind)
        except (TypeError, ValueError, cattrs.BaseValidationError):
            raise _nonsense() from None
        if returncode in (None, -signal.SIGXCPU, -signal.SIGKILL):
            raise too_slow(seconds)
        raise OperatorError(
            f"The helper ended with {returncode} and said nothing.",
            "That is a bug of ours; the log says more.",
        )


def too_slow(seconds: float) -> OperatorError:
    return OperatorError(
        f"It took more than {seconds:g} seconds.", "Make a raw image of it, or raise the limit."
    )


def _nonsense() -> OperatorError:
    return OperatorError("The helper said what it cannot say.", "That is a bug of ours, or an attack.")


def convert(order: Order, progress: Progress) -> Converted:
    """Run it and wait, at most twice ``cpu_seconds``.  Whatever happens, the process is gone at the end."""
    ours, theirs = os.pipe()
    try:
        with subprocess.Popen(
            command(order, theirs),
            stdin=subprocess.PIPE,
            pass_fds=descriptors(order, theirs),
            start_new_session=True,
        ) as process:
            os.close(theirs)
            theirs = -1
            try:
                reports = Reports(progress)
                _listen(ours, reports, time.monotonic() + 2 * order.cpu_seconds, order)
                returncode = process.wait(_CLEANUP_SECONDS)
            except BaseException:
                process.kill()
                raise
        return reports.outcome(returncode, order)
    finally:
        for fd in (ours, theirs):
            with contextlib.suppress(OSError):
                if fd >= 0:
                    os.close(fd)


def _listen(fd: int, reports: Reports, deadline: float, order: Order) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            if not selector.select(max(0.0, deadline - time.monotonic())):
                raise too_slow(order.cpu_seconds)
            data = os.read(fd, 65536)
            if not data:
                return
            reports.feed(data)
