"""A helper process of control's: started with descriptors, heard until it ends, never left behind.

Knows trio and processes.  What the helper says is ``scsipub.convert.running``'s to read."""

import os
import subprocess
from collections.abc import Callable, Iterable, Sequence

import trio

from scsipub.convert.running import Reports

READ = 65536


async def helped(
    argv: Callable[[int], Sequence[str]], fds: Iterable[int], reports: Reports, seconds: float
) -> int | None:
    """Run it; its exit code, or None when ``seconds`` were not enough.  ``argv`` is told where to report.

    The helper ends when its standard input does, so it does not outlive us, however we end."""
    ours, theirs = os.pipe()
    try:
        process = await trio.lowlevel.open_process(
            list(argv(theirs)),
            stdin=subprocess.PIPE,
            pass_fds=[*(fd for fd in fds if fd >= 0), theirs],
            start_new_session=True,
        )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    try:
        with trio.move_on_after(seconds):
            async with trio.lowlevel.FdStream(ours) as line:
                while data := await line.receive_some(READ):
                    reports.feed(data)
            return await process.wait()
        return None
    finally:
        if process.returncode is None:
            process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()
            if process.stdin is not None:
                await process.stdin.aclose()
