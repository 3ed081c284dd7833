"""A worker for the pool's tests: ``worker_program.py MODE FD``.  What it does wrong is its mode."""

import os
import signal
import subprocess
import sys
import time

import trio

from supervisor.channel import Channel
from supervisor.child import child_channel


async def main(mode: str, fd: int) -> None:
    if mode == "dies":
        for n in range(30):
            print(f"line {n}", file=sys.stderr)
        print("no newline", end="", file=sys.stderr)
        sys.exit(3)
    if mode == "never_ready":
        await trio.sleep_forever()
    if mode == "no_channel":  # knows nothing of the conventions but "ready"
        import socket

        channel = Channel(socket.socket(fileno=fd), {"ping": lambda params, fds: None})
        async with trio.open_nursery() as nursery:
            await nursery.start(channel.run)
            await channel.call("ready")
            await trio.sleep_forever()

    def hang(params: dict, fds: list) -> None:
        time.sleep(1000)

    def hang_up(params: dict, fds: list) -> None:
        channel.close()

    def die(params: dict, fds: list) -> None:
        os._exit(params["code"])

    async def ask(params: dict, fds: list) -> object:
        return await channel.call(params["method"])

    async def grandchild(params: dict, fds: list) -> None:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
        os._exit(0)

    handlers = {"hang": hang, "hang_up": hang_up, "die": die, "ask": ask, "grandchild": grandchild}
    # "hang_up" must not end the process at once, as child_channel would.
    ending = {"exit_process": lambda code: time.sleep(1000)} if mode == "lingers" else {}
    async with child_channel(fd, handlers, grace=0.3, **ending) as channel:
        if mode == "deaf":
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        await channel.ready({"mode": mode, "arguments": sys.argv[1:]})
        if mode == "dies_later":
            sys.exit(4)
        if mode in ("deaf", "stubborn"):
            await trio.sleep_forever()
        await channel.draining.wait()


if __name__ == "__main__":
    trio.run(main, sys.argv[1], int(sys.argv[2]))
