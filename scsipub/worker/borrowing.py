"""Borrowing: the files of tenants' disks, which this process cannot reach, from control, which can.

A worker has locked itself out of the folder that they are in.  It is given descriptors of the disks of the
targets that it owns, one file at a time, and may make, replace and remove their names; control looks at each
request.  So a worker that was taken over has the disks that it serves anyway, and no other tenant's.

Called in threads, since opening a disk blocks anyway."""

import os
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import trio

from scsipub.storage.files import WAYS
from supervisor.channel import CallError, ChannelClosed

HOW = {flags: how for how, flags in WAYS.items()}


class Line(Protocol):
    """What is needed of a channel."""

    async def call_with_fds(
        self, method: str, params: dict[str, Any], fds: Sequence[int] = (), timeout: float | None = None
    ) -> tuple[Any, list[int]]: ...

    def try_cast(self, method: str, params: dict[str, Any]) -> bool: ...


class Borrowed:
    """The folder of one target's disks.  ``storage.folder.Folder``."""

    def __init__(self, line: Line, target: str, soon: Callable[[Callable[[], Any]], None]) -> None:
        self.line = line
        self.target = target
        self.soon = soon  # runs something in the loop's thread, whoever asks

    def open(self, path: str, flags: int) -> int:
        [fd] = self._ask("open", path, how=HOW[flags])
        return fd

    def unlink(self, path: str) -> None:
        self._ask("unlink", path)

    def replace(self, path: str, by: str) -> None:
        self._ask("replace", path, by=os.path.basename(by))

    def sync(self, directory: str) -> None:
        self._ask("sync", directory)

    def remember(self, path: str, words: str) -> None:
        params = self._params("remember", path) | {"words": words}
        self.soon(lambda: self.line.try_cast("disk", params))

    def _params(self, deed: str, path: str) -> dict[str, Any]:
        return {"deed": deed, "target": self.target, "name": os.path.basename(path)}

    def _ask(self, deed: str, path: str, **more: str) -> list[int]:
        params = self._params(deed, path) | more
        try:
            # For as long as it takes: a folder on a busy medium is no reason to give a disk up.
            _, fds = trio.from_thread.run(self.line.call_with_fds, "disk", params, (), None)
        except CallError as error:
            code = error.data.get("errno", 5) if isinstance(error.data, dict) else 5
            raise OSError(code, error.message, path) from None
        except ChannelClosed as error:
            raise OSError(5, f"control is gone: {error}", path) from None
        return fds
