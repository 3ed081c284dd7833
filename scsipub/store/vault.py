"""The vault: secrets at rest.

A CHAP secret must come back in the clear, so it is encrypted, not hashed: AES-256-GCM, a random nonce of 96
bits for each, and the place where it lies (table, row, user, key) as associated data, so that rows cannot be
exchanged.  The keys are files of 32 bytes in ``<state-dir>/keys``, 0400; the one with the largest number
seals, all of them open.  A dump of the database without them reveals nothing.

Knows files and ``cryptography``; no database."""

import hashlib
import json
import os
import re
import stat
from pathlib import Path
from typing import Self

import attrs
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from scsipub.errors import OperatorError
from scsipub.store.errors import SecretUnreadable
from scsipub.store.ids import Random

KEY_BYTES = 32
NONCE_BYTES = 12

_KEY_FILE = re.compile(r"([1-9][0-9]{0,8})\.key", re.ASCII)


@attrs.frozen
class Place:
    """Where a secret lies."""

    table: str
    row: str
    user: str

    def associated(self, key_id: str) -> bytes:
        # JSON keeps the borders: ("a", "bc") is not ("ab", "c").
        return json.dumps([self.table, self.row, self.user, key_id]).encode()


@attrs.frozen
class Sealed:
    """A secret as the database sees it."""

    key_id: str
    nonce: bytes
    data: bytes


@attrs.frozen
class Key:
    number: int
    secret: bytes = attrs.field(repr=False)

    @property
    def id(self) -> str:
        """Names the key without telling it."""
        return hashlib.sha256(b"scsipub key " + self.secret).hexdigest()[:16]


class Vault:
    """The keys of this install.  ``directory`` is private to the daemon's user."""

    def __init__(self, directory: Path, keys: list[Key], random: Random = os.urandom) -> None:
        self.directory = directory
        self.random = random
        self._keys = {key.id: key for key in keys}
        self._ciphers = {key.id: AESGCM(key.secret) for key in keys}
        self.current = max(keys, key=lambda key: key.number)

    @classmethod
    def open(cls, directory: Path, random: Random = os.urandom) -> Self | None:
        """Read the keys; None when there is none yet.  Raises OperatorError when others may read them."""
        if not directory.exists():
            return None
        _must_be_private(directory)
        keys = []
        for path in sorted(directory.iterdir()):
            found = _KEY_FILE.fullmatch(path.name)
            if found is None:
                continue
            _must_be_private(path)
            secret = path.read_bytes()
            if len(secret) != KEY_BYTES:
                raise OperatorError(
                    f"{path} has {len(secret)} bytes.", f"A key has {KEY_BYTES}; restore it from a backup."
                )
            keys.append(Key(int(found[1]), secret))
        return cls(directory, keys, random) if keys else None

    @classmethod
    def create(cls, directory: Path, random: Random = os.urandom) -> Self:
        """Make the first key."""
        directory.mkdir(mode=0o700, exist_ok=True)
        return cls(directory, [_make_key(directory, 1, random)], random)

    def seal(self, secret: bytes, place: Place) -> Sealed:
        nonce = self.random(NONCE_BYTES)
        key_id = self.current.id
        data = self._ciphers[key_id].encrypt(nonce, secret, place.associated(key_id))
        return Sealed(key_id, nonce, data)

    def unseal(self, sealed: Sealed, place: Place) -> bytes:
        """Raises SecretUnreadable: the key is missing, or the row was tampered with."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise SecretUnreadable(f"key {sealed.key_id} is not in {self.directory}")
        try:
            return cipher.decrypt(sealed.nonce, sealed.data, place.associated(sealed.key_id))
        except InvalidTag:
            raise SecretUnreadable(f"a secret of {place.table} {place.row} was tampered with") from None

    # -- rotation ----------------------------------------------------------------------------------------

    def rotate(self) -> Key:
        """Make a new key, which seals from now on; the old ones still open."""
        key = _make_key(self.directory, self.current.number + 1, self.random)
        self._keys[key.id] = key
        self._ciphers[key.id] = AESGCM(key.secret)
        self.current = key
        return key

    def forget_others(self) -> None:
        """Remove every key but the current one.  Only when no row needs them any more."""
        for key in [key for key in self._keys.values() if key is not self.current]:
            (self.directory / f"{key.number}.key").unlink(missing_ok=True)
            del self._keys[key.id], self._ciphers[key.id]
        _sync(self.directory)

    @property
    def key_ids(self) -> frozenset[str]:
        return frozenset(self._keys)


def _must_be_private(path: Path) -> None:
    found = os.lstat(path)
    mode = stat.S_IMODE(found.st_mode)
    if stat.S_ISLNK(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o077:
        wanted = "0700" if stat.S_ISDIR(found.st_mode) else "0400"
        raise OperatorError(
            f"{path} may be read or written by others than the daemon (mode {mode:04o}).",
            f"Make it private: chmod {wanted} {path}, owned by the user who runs the daemon, and no link.",
        )


def _make_key(directory: Path, number: int, random: Random) -> Key:
    """The file is on the medium before the first secret is sealed with it."""
    key = Key(number, random(KEY_BYTES))
    temporary = directory / f".{number}.new"
    temporary.unlink(missing_ok=True)
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o400)
    with os.fdopen(fd, "wb") as file:
        file.write(key.secret)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, directory / f"{number}.key")
    _sync(directory)
    return key


def _sync(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
