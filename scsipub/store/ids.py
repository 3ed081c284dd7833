"""Names and secrets that the server makes.

Pure: randomness is an argument, a function from a number of bytes to so many bytes, as ``os.urandom`` is."""

import base64
import re
from collections.abc import Callable

Random = Callable[[int], bytes]

ID_BYTES = 16  # 128 bits: cannot be guessed, and is still checked
TOKEN_ID_BYTES = 8
TOKEN_SECRET_BYTES = 32

# Kept short of what a scanner of leaked secrets takes for noise.
TOKEN_PREFIX = "scsipub"
_TOKEN = re.compile(rf"{TOKEN_PREFIX}_([0-9a-f]{{16}})\.([A-Za-z0-9_-]{{43}})", re.ASCII)


def new_id(random: Random) -> str:
    """An id of 26 small letters and digits: it stands in iSCSI names, and some initiators make a folder of
    those."""
    return base64.b32encode(random(ID_BYTES)).decode().rstrip("=").lower()


def new_uuid(random: Random) -> str:
    """The identity of a unit, in hex; SCSI wants bytes."""
    return random(ID_BYTES).hex()


def new_token(random: Random) -> tuple[str, str]:
    """A token's public id and its secret half."""
    secret = base64.urlsafe_b64encode(random(TOKEN_SECRET_BYTES)).decode().rstrip("=")
    return random(TOKEN_ID_BYTES).hex(), secret


def join_token(id: str, secret: str) -> str:
    """What the holder is given, once."""
    return f"{TOKEN_PREFIX}_{id}.{secret}"


def split_token_untrusted(text: str) -> tuple[str, str] | None:
    """The two halves of what a stranger showed us, or None."""
    found = _TOKEN.fullmatch(text)
    return (found[1], found[2]) if found else None
