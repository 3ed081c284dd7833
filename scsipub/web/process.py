"""``python -m scsipub web``: modest before anything else, then the server.

The frameworks are loaded after the process has stepped back, so that not even its start takes the processor
from those who serve disks."""

import contextlib
import os
import resource

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


def main(arguments: list[str]) -> None:
    """``--channel-fd N``: the descriptor that control passed."""
    channel_fd = int(arguments[arguments.index("--channel-fd") + 1])
    step_back()

    import trio

    from scsipub.web.serving import serve

    trio.run(serve, channel_fd)
