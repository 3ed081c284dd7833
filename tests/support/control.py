"""A daemon's control socket without the daemon: the real channel, answers from a table.

with control(state_dir, {"status": lambda params: {...}}) as asked:
    ...
    assert asked == [("status", {})]"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import trio

from supervisor.channel import Channel

Answer = Callable[[dict[str, Any]], Any]


@contextlib.contextmanager
def control(state_dir: Path, answers: Mapping[str, Answer]) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """Serves until the block ends; yields the list of what was asked."""
    asked: list[tuple[str, dict[str, Any]]] = []
    path = state_dir / "run" / "control.sock"
    path.parent.mkdir(parents=True, exist_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen()

    def handler(method: str) -> Any:
        def handle(params: dict[str, Any], fds: list[int]) -> Any:
            asked.append((method, dict(params)))
            return answers[method](dict(params))

        return handle

    stop = trio.CancelScope()

    async def serve() -> None:
        handlers = {method: handler(method) for method in answers}
        with stop, trio.socket.from_stdlib_socket(listener) as listening:
            async with trio.open_nursery() as nursery:
                token.append(trio.lowlevel.current_trio_token())
                while True:
                    connection, _ = await listening.accept()
                    nursery.start_soon(Channel(connection, handlers).run)

    token: list[trio.lowlevel.TrioToken] = []
    thread = threading.Thread(target=trio.run, args=(serve,))
    thread.start()
    try:
        yield asked
    finally:
        token[0].run_sync_soon(stop.cancel)
        thread.join(5)
        path.unlink()
