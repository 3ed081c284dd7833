"""One worker process: started with a channel, its stderr read, its end put into words.

Knows trio, processes and signals.  When it is started, killed and replaced is decided in ``pool``.
"""

import enum
import os
import signal
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import attrs
import trio

from supervisor.channel import Channel
from supervisor.exits import ProcessExited, ProcessSignalled
from supervisor.wire import Json, Params

STDERR_LINES = 20
LONGEST_LINE = 8192  # a traceback's line is shorter; what is longer is cut in pieces


class State(enum.Enum):
    """Where a slot is in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    DOWN = "down"
    BACKING_OFF = "backing off"
    QUARANTINED = "quarantined"
    STOPPED = "stopped"


@attrs.define(eq=False)
class Worker:
    """One living process.  ``info`` is what it said when it became ready."""

    index: int
    incarnation: int
    _process: trio.Process
    channel: Channel
    info: Params = attrs.field(factory=dict)
    state: State = State.STARTING
    started_at: float = attrs.field(factory=trio.current_time)
    # Why we killed it, if it was us.
    verdict: str | None = None
    _ready: trio.Event = attrs.field(factory=trio.Event)
    _reaped: trio.Event = attrs.field(factory=trio.Event)
    _killed_late: bool = False
    # The last lines that it wrote there.
    stderr: deque[str] = attrs.field(factory=lambda: deque(maxlen=STDERR_LINES))

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self, why: str) -> None:
        """SIGKILL, which works on a stopped process too.  The pool reaps and replaces it."""
        self.verdict = self.verdict or why
        self._process.kill()

    async def wait_reaped(self) -> None:
        """Until the process is gone and ``on_down`` was called."""
        await self._reaped.wait()

    def _say_ready(self, params: Params, fds: list[int]) -> Json:
        self.info = params
        self._ready.set()
        return None

    async def read_stderr(self, on_line: Callable[[int, bytes], object]) -> None:
        """Pass it on line by line until nobody can write there any more; the last lines are kept."""
        stream = self._process.stderr
        if stream is None:
            return

        def emit(line: bytes) -> None:
            self.stderr.append(line.decode("utf-8", "replace"))
            on_line(self.index, line)

        rest = b""
        async with stream:
            async for data in stream:
                *whole, rest = (rest + data).split(b"\n")
                for line in whole:
                    emit(line)
                while len(rest) > LONGEST_LINE:
                    emit(rest[:LONGEST_LINE])
                    rest = rest[LONGEST_LINE:]
        if rest:
            emit(rest)


async def spawn(
    argv: Sequence[str], channel: socket.socket, environment: Mapping[str, str] | None = None
) -> trio.Process:
    """Start a program that inherits ``channel`` under its present number, and nothing else of ours.

    It gets a session of its own: Ctrl-C in the terminal is for the parent, who then drains its children.
    """
    return await trio.lowlevel.open_process(
        list(argv),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[channel.fileno()],
        start_new_session=True,
        env=None if environment is None else {**os.environ, **environment},
    )


def process_reason(returncode: int, stderr: tuple[str, ...] = ()) -> ProcessExited | ProcessSignalled:
    """What Popen's ``returncode`` says: below zero it is a signal."""
    if returncode >= 0:
        return ProcessExited(returncode, stderr)
    try:
        name = signal.Signals(-returncode).name
    except ValueError:  # real-time signals have numbers only
        name = ""
    return ProcessSignalled(-returncode, stderr, name)
