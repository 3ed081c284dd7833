"""Secrets that the tests know of, and where they must never stand: in a log.

Whatever the suite makes or is given as a secret is remembered here; the log of every daemon that it starts,
and what its tests log themselves, is searched for all of them, in plain, in hex and in base64.  ``conftest``
does the searching."""

import base64
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

# What stands under these names in answers and configuration files is a secret.
NAMES = frozenset({"secret", "mutual_secret", "token", "password"})
SHORTEST = 8  # bytes; shorter ones are somewhere by chance
# Words that tests use where the value does not matter, and that logs may say for other reasons.
_ORDINARY = frozenset({"x" * 16})


@attrs.define
class Known:
    """What is known, and the logs that were written."""

    secrets: set[bytes] = attrs.field(factory=set)
    logs: dict[Path, tuple[int, int]] = attrs.field(factory=dict)  # searched: bytes, secrets


KNOWN = Known()


def remember(secret: str | bytes) -> None:
    """From now on it must not be found."""
    raw = secret.encode() if isinstance(secret, str) else bytes(secret)
    if len(raw) >= SHORTEST and raw.decode("latin-1") not in _ORDINARY:
        KNOWN.secrets.add(raw)


def remember_all(said: Any) -> None:
    """Every secret in an answer or a configuration, however deep."""
    if isinstance(said, dict):
        for name, value in said.items():
            if name in NAMES and isinstance(value, str):
                remember(value)
            else:
                remember_all(value)
    elif isinstance(said, list | tuple):
        for value in said:
            remember_all(value)


def remember_files(state_dir: Path, config: Path | None = None) -> None:
    """The admin token, the keys, and the secrets of a configuration file."""
    token = state_dir / "admin.token"
    if token.exists():
        remember(token.read_text().strip())
    for key in (state_dir / "keys").glob("*.key"):
        remember(key.read_bytes())
    if config is not None and config.exists():
        try:
            remember_all(tomllib.loads(config.read_text()))
        except tomllib.TOMLDecodeError:
            return  # a test of what the daemon says to that


def forms(secret: bytes) -> Iterator[bytes]:
    """How it could stand somewhere.  In the middle of something else base64 begins at one of three places."""
    yield secret
    yield secret.hex().encode()
    yield secret.hex().upper().encode()
    for shift in range(3):
        inner = base64.b64encode(bytes(shift) + secret)
        # The characters at the ends depend on their neighbours too.
        core = inner[(0, 2, 3)[shift] : len(inner) - (0 if (shift + len(secret)) % 3 == 0 else 4)]
        yield core
        yield core.replace(b"+", b"-").replace(b"/", b"_")


def found_in(text: bytes, secrets: set[bytes] | None = None) -> list[str]:
    """Which secrets stand in it: their first three characters, and in which form."""
    found = []
    for secret in sorted(KNOWN.secrets if secrets is None else secrets):
        for form in forms(secret):
            if form in text:
                found.append(f"{secret[:3]!r}… as {form[:3]!r}…")
                break
    return found


def watch(log: Path) -> None:
    """This file is searched from now on."""
    KNOWN.logs.setdefault(log, (0, 0))


def search_logs(again: bool = False) -> list[str]:
    """What is wrong with the logs that have changed, or could say more since more secrets are known."""
    found = []
    for log, searched in list(KNOWN.logs.items()):
        if not log.exists():
            continue
        state = (log.stat().st_size, len(KNOWN.secrets))
        if again or state != searched:
            KNOWN.logs[log] = state
            found += [f"{log} has the secret {each}" for each in found_in(log.read_bytes())]
    return found


def remembering(make: Any) -> Any:
    """Around a function that makes secrets."""

    def made(*args: Any, **how: Any) -> Any:
        result = make(*args, **how)
        remember(result if isinstance(result, str) else result[-1])
        return result

    return made
