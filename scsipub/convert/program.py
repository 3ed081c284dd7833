"""``python -m scsipub convert``: the process around one job.

The order comes as JSON on the command line, with the numbers of the descriptors that came along; reports go
out as lines of JSON.  Standard input is the parent's: when it is closed, nobody waits for us any more."""

import contextlib
import json
import os
import signal
import sys
import threading
from typing import Any

import attrs

from scsipub.convert.job import Order, convert_untrusted
from scsipub.convert.sandbox import confine
from scsipub.errors import OperatorError

NICENESS = 10
ORPHANED = 75
# An image and what it is unpacked to are bounded by ``max_bytes``; a little is added to fill up sectors.
_SECTORS = 4096


def main(arguments: list[str]) -> None:
    """``--order JSON --report N``."""
    order = Order(**json.loads(arguments[arguments.index("--order") + 1]))
    report = int(arguments[arguments.index("--report") + 1])

    def say(message: dict[str, Any]) -> None:
        os.write(report, json.dumps(message).encode() + b"\n")

    def tell(doing: str, bytes_in: int, total: int, bytes_out: int) -> None:
        say({"doing": doing, "in": bytes_in, "of": total, "out": bytes_out})

    with contextlib.suppress(OSError):  # a service that may not change priorities
        os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which then lets go of us
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        confine(
            memory_bytes=order.memory_bytes,
            cpu_seconds=order.cpu_seconds,
            file_bytes=order.max_bytes + _SECTORS,
        )
        done = convert_untrusted(order, tell)
    except OperatorError as error:
        say({"refused": [error.what, error.do]})
    except MemoryError:
        say({"refused": [f"Reading it needs more than {order.memory_bytes} bytes of memory.", ""]})
    except OSError as error:
        say({"refused": [f"The image cannot be written: {error.strerror}.", "See that there is room."]})
    else:
        say({"done": attrs.asdict(done)})
    sys.stderr.flush()
    os._exit(0)  # nothing here needs to be tidied, and the interpreter's own end opens files


def end_with_parent() -> None:
    """For a thread: standard input is the parent's, and ends with it."""
    os.read(0, 1)
    os._exit(ORPHANED)
