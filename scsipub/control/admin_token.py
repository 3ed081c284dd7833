"""The admin token: who shows it may do over HTTP what the console may do over its socket.

Made at the first start, in a file that only the daemon's user can read.  Control keeps a hash of it and never
hands it out: the web process passes on what a stranger claims, and hears yes or no."""

import contextlib
import hashlib
import hmac
import os
import secrets
import stat
from pathlib import Path

from scsipub.errors import OperatorError

TOKEN_BYTES = 32
MOST_CLAIMED = 256  # characters; ours has 49


class AdminToken:
    """See the module.  Until ``open`` nothing is accepted."""

    def __init__(self) -> None:
        self._hash: bytes | None = None

    def open(self, path: Path) -> None:
        """Read the token, or make it.  Raises OperatorError for a file that others can read."""
        with contextlib.suppress(FileExistsError):
            self._make(path)
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                token = file.read(MOST_CLAIMED).strip()
        except OSError as error:
            raise OperatorError(
                f"The admin token in {path} cannot be read: {error.strerror}.", "Remove it."
            ) from None
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise OperatorError(
                f"{path} can be read by others than the daemon's user, and its token is not accepted.",
                f"Remove {path}; the next start makes another.",
            )
        if len(token) < TOKEN_BYTES:
            raise OperatorError(f"{path} holds no token.", "Remove it; the next start makes another.")
        self._hash = hashlib.sha256(token).digest()

    @staticmethod
    def _make(path: Path) -> None:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(fd, "w") as file:
            file.write(f"admin.{secrets.token_urlsafe(TOKEN_BYTES)}\n")
            file.flush()
            os.fsync(file.fileno())

    def admits(self, claimed: object) -> bool:
        """Is it this one?  Takes as long whether it nearly is or not."""
        if self._hash is None or not isinstance(claimed, str) or len(claimed) > MOST_CLAIMED:
            return False
        # Hashes of one length are compared: neither length nor common beginning shows in the time.
        return hmac.compare_digest(
            hashlib.sha256(claimed.encode("utf-8", "surrogatepass")).digest(), self._hash
        )
