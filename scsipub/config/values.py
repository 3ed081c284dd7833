"""One value at a time: what an operator may write, and what we make of it.

Knows nothing of files, variables or options: each function takes whatever was written (a string, or TOML's
own types) and returns the value, or raises ``NotAllowed`` with the sentence that says what is allowed."""

import ipaddress
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

from scsipub.limits import GiB, KiB, MiB

_UNITS = {"": 1, "b": 1, "k": KiB, "kib": KiB, "m": MiB, "mib": MiB, "g": GiB, "gib": GiB}
_UNITS |= {"t": 1024 * GiB, "tib": 1024 * GiB, "kb": 1000, "mb": 1000**2, "gb": 1000**3, "tb": 1000**4}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.ASCII)
_PUBLIC_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]{1,5}))?", re.ASCII)
_ISCSI_NAME = re.compile(r"(iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.:-]+|eui\.[0-9a-f]{16}|naa\.[0-9a-f]{16,32})")
_NAME_BYTES = 223  # RFC 7143 §4.2.7.1


@attrs.define(eq=False)
class NotAllowed(Exception):
    """What was written is no such value; ``allowed`` says what would be."""

    allowed: str


def whole_number(least: int, most: int | None = None) -> Callable[[object], int]:
    """A whole number in a range, written as a number or in digits."""

    def parse(raw: object) -> int:
        number = raw
        if isinstance(raw, str) and re.fullmatch(r"[+-]?[0-9]+", raw.strip(), re.ASCII):
            number = int(raw)
        if isinstance(number, bool) or not isinstance(number, int):
            raise NotAllowed(f"Use {_between('a whole number', least, most)}.")
        if number < least or (most is not None and number > most):
            raise NotAllowed(f"Use {_between('a whole number', least, most)}.")
        return number

    return parse


def number(least: float, most: float | None = None) -> Callable[[object], float]:
    """Any finite number in a range."""

    def parse(raw: object) -> float:
        try:
            value = float(raw) if isinstance(raw, int | float | str) and not isinstance(raw, bool) else None
        except ValueError:
            value = None
        # The comparison with infinity also refuses "nan".
        if value is None or not least <= value < float("inf") or (most is not None and value > most):
            raise NotAllowed(f"Use {_between('a number', least, most)}.")
        return value

    return parse


def size(raw: object, least: int = 0, most: int | None = None) -> int:
    """Bytes, as a number or as words: ``"64 MiB"``, ``"1.5G"``."""
    allowed = f'Use {_between("a number of bytes", least, most)}, or words such as "64 MiB" or "2 GiB".'
    if isinstance(raw, str):
        match = _SIZE.fullmatch(raw.strip().lower())
        if match is None or match[2] not in _UNITS:
            raise NotAllowed(allowed)
        raw = int(float(match[1]) * _UNITS[match[2]]) if "." in match[1] else int(match[1]) * _UNITS[match[2]]
    if isinstance(raw, bool) or not isinstance(raw, int) or raw < least or (most is not None and raw > most):
        raise NotAllowed(allowed)
    return raw


def yes_or_no_in_words(raw: object) -> bool:
    """The same where all is text: options and variables."""
    known = {"yes": True, "true": True, "1": True, "no": False, "false": False, "0": False}
    if isinstance(raw, str) and raw.strip().lower() in known:
        return known[raw.strip().lower()]
    if not isinstance(raw, bool):
        raise NotAllowed("Use yes or no.")
    return raw


def yes_or_no(raw: object) -> bool:
    """A TOML boolean."""
    if not isinstance(raw, bool):
        raise NotAllowed("Use true or false, without quotes.")
    return raw


def text(raw: object) -> str:
    """Some words on one line."""
    if not isinstance(raw, str) or not raw.strip() or not raw.isprintable():
        raise NotAllowed("Use some text in quotes, on one line.")
    return raw.strip()


def path(raw: object) -> Path:
    """A file or folder; ``~`` is the home directory."""
    if isinstance(raw, Path):
        return raw.expanduser()
    if not isinstance(raw, str) or not raw or "\0" in raw:
        raise NotAllowed("Use the path of a file or folder.")
    return Path(raw).expanduser()


def one_of(*choices: str) -> Callable[[object], str]:
    """One of a few words."""

    def parse(raw: object) -> str:
        if not isinstance(raw, str) or raw.strip().lower() not in choices:
            raise NotAllowed(f"Use one of: {', '.join(choices)}.")
        return raw.strip().lower()

    return parse


def hosts(raw: object) -> tuple[str, ...]:
    """Addresses to listen on: a list, or one string with commas."""
    words = raw.split(",") if isinstance(raw, str) else raw
    if not isinstance(words, list | tuple) or not words:
        raise NotAllowed('Use addresses of this machine, such as "0.0.0.0" or ["127.0.0.1", "::1"].')
    found = []
    for word in words:
        if not isinstance(word, str) or not re.fullmatch(
            r"[A-Za-z0-9.:_%-]+", word.strip().strip("[]"), re.ASCII
        ):
            raise NotAllowed('Use addresses of this machine, such as "0.0.0.0" or ["127.0.0.1", "::1"].')
        found.append(word.strip().strip("[]"))
    return tuple(found)


def addresses(raw: object) -> tuple[str, ...]:
    """IP addresses: a list, or one string with commas.  None at all is allowed."""
    words = [word for word in raw.split(",") if word.strip()] if isinstance(raw, str) else raw
    try:
        if not isinstance(words, list | tuple) or not all(isinstance(word, str) for word in words):
            raise ValueError
        return tuple(str(ipaddress.ip_address(word.strip())) for word in words)
    except ValueError:
        raise NotAllowed('Use IP addresses, such as ["127.0.0.1", "::1"].') from None


def public_host(raw: object) -> str:
    """The name by which the world reaches us, with a port if the outside one differs."""
    match = _PUBLIC_HOST.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None or (match[2] is not None and not 1 <= int(match[2]) <= 65535):
        raise NotAllowed('Use NAME or NAME:PORT, such as "disks.example.org" or "[2001:db8::1]:3260".')
    return match[0]


def iscsi_name(raw: object) -> str:
    """A whole iSCSI name.  open-iscsi uses it as a folder's name, so only ``[a-z0-9.:-]``."""
    allowed = (
        "Use an iSCSI name in small letters, such as iqn.2025-01.org.example:disk (letters, digits, . : -)."
    )
    if not isinstance(raw, str) or not _ISCSI_NAME.fullmatch(raw) or len(raw) > _NAME_BYTES:
        raise NotAllowed(allowed)
    return raw


def iqn_prefix(raw: object) -> str:
    """What our own names begin with, up to the colon."""
    if not isinstance(raw, str) or not re.fullmatch(
        r"iqn\.[0-9]{4}-[0-9]{2}\.[a-z0-9.-]{1,120}", raw, re.ASCII
    ):
        raise NotAllowed(
            'Use iqn.YEAR-MONTH.REVERSED-DOMAIN without a colon, such as "iqn.2025-01.org.example".'
        )
    return raw


def secret(raw: object) -> str:
    """A CHAP secret: RFC 7143 §9.2.1 asks for 96 bits, which 12 characters can just hold."""
    allowed = "A CHAP secret has 12 to 255 characters of printable ASCII; Windows takes at most 16."
    if not isinstance(raw, str) or not raw.isascii() or not raw.isprintable() or not 12 <= len(raw) <= 255:
        raise NotAllowed(allowed)
    return raw


def chap_name(raw: object) -> str:
    """A CHAP user's name: RFC 7143 §12.1.3 allows 255 bytes."""
    if not isinstance(raw, str) or not raw.isprintable() or not 1 <= len(raw.encode()) <= 255:
        raise NotAllowed("A CHAP user name has 1 to 255 printable characters.")
    return raw


def _between(what: str, least: float, most: float | None) -> str:
    return f"{what} from {least:g} to {most:.15g}" if most is not None else f"{what}, at least {least:.15g}"


def shown(raw: Any) -> str:
    """What was written, for an error message; never too long for a line."""
    words = f'"{raw}"' if isinstance(raw, str | Path) else str(raw)
    return words if len(words) <= 60 else words[:57] + "..."
