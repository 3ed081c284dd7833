"""``python -m scsipub web``: modest before anything else, then the server.

The frameworks are loaded after the process has stepped back, so that not even its start takes the processor
from those who serve disks."""

import contextlib
import mimetypes
import os
import resource
from pathlib import Path

from scsipub.confine import confine, of_python

NICENESS = 10
# Connections, each some kilobytes; a tunnel needs two; and what the process itself has open.
DESCRIPTORS = 4096
OOM_SCORE = "500"  # when memory ends, this goes before a worker does


def step_back() -> None:
    """Less processor, fewer descriptors, and first in line when memory runs out."""
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(DESCRIPTORS, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:
        file.write(OOM_SCORE)


def lock_in() -> None:
    """From here on this process reads its own code and pages, and nothing else on the machine.

    Whatever else it is to read or write, it is handed as a descriptor.  Comes before the first thread."""
    confine([*of_python(), *map(Path, mimetypes.knownfiles)], [])


def main(arguments: list[str]) -> None:
    """``--channel-fd N``: the descriptor that control passed."""
    channel_fd = int(arguments[arguments.index("--channel-fd") + 1])
    step_back()

    import trio

    from scsipub.web.serving import serve

    lock_in()  # after the frameworks: while they load they look around
    trio.run(serve, channel_fd)
