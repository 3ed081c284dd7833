"""A parent for the tests that kill it: runs a pool of one, says the worker's pid, then obeys its mode."""

import sys
from pathlib import Path

import trio

from supervisor.pool import PoolSpec, WorkerPool

WORKER = Path(__file__).with_name("worker_program.py")


async def main(mode: str) -> None:
    pool = WorkerPool(PoolSpec(argv=lambda index, fd: [sys.executable, str(WORKER), "good", str(fd)]))
    async with trio.open_nursery() as nursery:
        await nursery.start(pool.run)
        worker = pool.workers[0]
        if mode == "hang":
            await worker.channel.cast("hang")
        print(worker.pid, flush=True)
        await trio.sleep_forever()


if __name__ == "__main__":
    trio.run(main, sys.argv[1])
