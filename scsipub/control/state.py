"""The state directory: made on the first start, held by one daemon at a time, telling where it listens.

Knows files.  Two daemons on one directory would write each other's overlays, so the second is refused."""

import fcntl
import json
import os
import stat
from pathlib import Path
from typing import Any

from scsipub.config import Config
from scsipub.errors import OperatorError

INSTANCE_BYTES = 32


class StateDir:
    """An open state directory; ``close`` lets another daemon have it."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self._lock_fd = -1

    def open(self) -> bytes:
        """Make what is missing, take the lock, and return the identity of this install.

        Raises OperatorError when another daemon is there, or when others may write to the directory."""
        config = self.config
        try:
            for directory in (
                config.state_dir,
                config.overlays_dir,
                config.disposable_dir,
                config.run_dir,
                config.images_dir,
            ):
                directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise OperatorError(
                f"The state directory {config.state_dir} cannot be made: {error.strerror}.",
                "Name another with --state-dir.",
            ) from None
        self._must_be_ours(config.state_dir)
        self._lock_fd = os.open(config.run_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock_fd)
            raise OperatorError(
                f"Another daemon runs on {config.state_dir}.",
                "End it first, or name another directory with --state-dir.",
            ) from None
        return self._instance()

    def _must_be_ours(self, path: Path) -> None:
        found = os.stat(path)
        if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise OperatorError(
                f"{path} can be written by others than the daemon's user.",
                f"Make it private: chmod 0700 {path}, and chown it to the user who runs the daemon.",
            )

    def _instance(self) -> bytes:
        path = self.config.state_dir / "instance"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            fresh = os.urandom(INSTANCE_BYTES)
            self._replace(path, fresh)
            return fresh

    def _replace(self, path: Path, data: bytes) -> None:
        temporary = path.with_name(f".{path.name}.new")
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)

    def announce(self, endpoints: dict[str, Any]) -> None:
        """Where the listeners are, for programs."""
        self._replace(self.config.endpoints_file, json.dumps(endpoints, indent=2).encode() + b"\n")

    def close(self) -> None:
        self.config.endpoints_file.unlink(missing_ok=True)
        os.close(self._lock_fd)
