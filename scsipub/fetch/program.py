"""``python -m scsipub fetch``: a download into a descriptor, for the daemon.

It speaks TLS and HTTP with strangers, and so not in the daemon's own process: bounded memory, few
descriptors, no privileges to gain.  What comes is written as it is; nobody looks at it here."""

import contextlib
import json
import os
import sys
import threading
from typing import Any

from scsipub.convert.program import end_with_parent
from scsipub.convert.sandbox import bound
from scsipub.errors import OperatorError
from scsipub.fetch.addresses import Private
from scsipub.fetch.download import Download, Terms
from scsipub.storage.sparse import too_large

NICENESS = 10
MEMORY = 512 << 20
DESCRIPTORS = 64
CPU_SECONDS = 4 * 3600
PIECE = 1 << 16
_EVERY = 4 << 20


def main(arguments: list[str]) -> None:
    """``--order JSON --report N``."""
    order = json.loads(arguments[arguments.index("--order") + 1])
    report = int(arguments[arguments.index("--report") + 1])

    def say(message: dict[str, Any]) -> None:
        os.write(report, json.dumps(message).encode() + b"\n")

    with contextlib.suppress(OSError):  # a service that may not change priorities
        os.nice(NICENESS)
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        bound(
            memory_bytes=MEMORY,
            cpu_seconds=CPU_SECONDS,
            file_bytes=order["max_bytes"],
            descriptors=DESCRIPTORS,
        )
        terms = Terms(
            seconds=order["seconds"],
            redirects=order["redirects"],
            resumes=order["resumes"],
            private=Private(order["private"]),
        )
        with Download(order["url"], terms) as download:
            length = _written(download, order["target"], order["max_bytes"], say)
    except OperatorError as error:
        say({"refused": [error.what, error.do]})
    except OSError as error:
        say({"refused": [f"Fetching it failed: {error.strerror or error}.", "See that there is room."]})
    else:
        say({"done": {"bytes": length}})
    sys.stderr.flush()
    os._exit(0)


def _written(download: Download, fd: int, max_bytes: int, say: Any) -> int:
    if download.total is not None and download.total > max_bytes:
        raise too_large(max_bytes)
    length, said = 0, -_EVERY
    while data := download.read(PIECE):
        if length + len(data) > max_bytes:
            raise too_large(max_bytes)
        done = 0
        while done < len(data):
            done += os.pwrite(fd, memoryview(data)[done:], length + done)
        length += len(data)
        if length - said >= _EVERY:
            said = length
            say({"doing": "fetching", "in": length, "of": download.total or 0, "out": length})
    return length
