"""iSCSI names: which strings are names at all.

Source: RFC 7143 §4.2.7, RFC 3722 (what a name looks like once prepared).  Whether a name is *known* is for
the catalogue to say."""

import re

from scsipub.errors import LoginRefused
from scsipub.iscsi.constants import MAX_NAME_BYTES, LoginStatus
from scsipub.iscsi.text import printable

_HEXADECIMAL = re.compile(r"(?:eui\.[0-9a-f]{16}|naa\.(?:[0-9a-f]{16}|[0-9a-f]{32}))", re.IGNORECASE)

# Initiators choose their own names, and one with an underscore in it mounts disks elsewhere: RFC 3722 would
# refuse it, we do not.  A slash, a space or a control character stays out, for such names end up in paths.
_INITIATOR = re.compile(r"iqn\.[a-z0-9._:-]+")
_TARGET = re.compile(r"iqn\.[a-z0-9.:-]+")


def initiator_name_untrusted(text: str) -> str:
    """The InitiatorName in the form we compare; ``eui.`` and ``naa.`` digits may come in either case."""
    name = _name(text, _INITIATOR)
    if name is None:
        raise LoginRefused(LoginStatus.INITIATOR_ERROR, f"InitiatorName {printable(text)} is not a name")
    return name


def target_name_untrusted(text: str) -> str:
    """The TargetName in the form we compare, folded to lower case.

    A string that is no name is answered like a name nobody has: there can be no such target."""
    name = _name(text.lower() if text.isascii() else text, _TARGET)
    if name is None:
        raise LoginRefused(LoginStatus.NOT_FOUND, f"TargetName {printable(text)} is not a name")
    return name


def _name(text: str, pattern: re.Pattern[str]) -> str | None:
    if not text.isascii() or len(text) > MAX_NAME_BYTES:
        return None
    if _HEXADECIMAL.fullmatch(text):
        return text.lower()
    return text if pattern.fullmatch(text) and ".." not in text else None
