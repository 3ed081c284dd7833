"""Causes: why a login failed, in plain words, and the command that mends it.

Source: open-iscsi's README for the settings of a node record.  Pure.  Words are for the tenant, who may know
what its target is; the initiator itself hears a status and nothing else."""

import enum
from collections.abc import Mapping
from string import Template

import attrs

from scsipub.iscsi.constants import LoginStatus


class Cause(enum.StrEnum):
    """How a login ended."""

    LOGGED_IN = "logged-in"
    NOT_FOUND = "unknown-target"
    NOT_LISTED = "initiator-not-listed"
    TLS_REQUIRED = "tls-required"
    CERTIFICATE = "client-certificate"
    SUSPENDED = "suspended"
    EXPIRED = "expired"
    OFFLINE = "offline"
    CHANGING = "changing"
    WRONG_SECRET = "wrong-secret"
    UNKNOWN_USER = "unknown-user"
    NO_CHAP = "no-chap"
    WEAK = "weak-algorithm"
    SESSIONS = "session-limit"
    SOURCE = "source-limit"
    BUDGET = "budget"
    TAKE_TURNS = "take-turns"
    IMAGE_GONE = "image-gone"
    QUARANTINED = "quarantined"
    LATE = "too-late"
    OTHER = "other"


@attrs.frozen
class Explained:
    """``$target``, ``$id``, ``$portal``, ``$user``, ``$account`` and ``$why`` are filled in."""

    words: str
    mend: str = ""


_NODE = "sudo iscsiadm -m node -T $target -p $portal"
_UPDATE = f"{_NODE} -o update -n"

EXPLAINED: Mapping[Cause, Explained] = {
    Cause.LOGGED_IN: Explained("The login succeeded."),
    Cause.NOT_FOUND: Explained(
        "There is no target of this name: it was removed, or the name is mistyped. Until it is told to "
        "forget the target, the initiator goes on asking.",
        "sudo iscsiadm -m node -T $target -o delete",
    ),
    Cause.NOT_LISTED: Explained(
        "The target is for the initiators on its list, and this name is not among them.",
        "cat /etc/iscsi/initiatorname.iscsi",
    ),
    Cause.TLS_REQUIRED: Explained(
        "The target takes logins over TLS only, and this one came in the clear.",
        "scsipub connect $host --target $target",
    ),
    Cause.CERTIFICATE: Explained(
        "The target asks for a client certificate of its tenant's: $why.",
        "scsipub connect $host --target $target --certificate FILE --key FILE",
    ),
    Cause.SUSPENDED: Explained("Nobody may log in: $why.", "scsipub target resume $id"),
    Cause.EXPIRED: Explained(
        "The target's time is over. Its disks are kept for a grace, and nobody may log in any more.",
        "sudo iscsiadm -m node -T $target -o delete",
    ),
    Cause.OFFLINE: Explained(
        "A disk of the target cannot be served: $why.",
        "scsipub target resume $id",
    ),
    Cause.CHANGING: Explained(
        "A disk of the target was being changed just then; initiators come back by themselves."
    ),
    Cause.WRONG_SECRET: Explained(
        "The CHAP secret is not the target's. One that is lost can be replaced: scsipub target secret $id",
        f"{_UPDATE} node.session.auth.password -v SECRET",
    ),
    Cause.UNKNOWN_USER: Explained(
        "The CHAP user $user is not the target's, which is $account.",
        f"{_UPDATE} node.session.auth.username -v $account",
    ),
    Cause.NO_CHAP: Explained(
        "The target wants CHAP, and the initiator offered none.",
        f"{_UPDATE} node.session.auth.authmethod -v CHAP",
    ),
    Cause.WEAK: Explained(
        "None of the CHAP algorithms that the initiator offers is strong enough for the target's tier.",
        f"{_UPDATE} node.session.auth.chap_algs -v SHA3-256,SHA256,SHA1,MD5",
    ),
    Cause.SESSIONS: Explained(
        "The target has as many sessions as its tier allows: $why.", "scsipub session list"
    ),
    Cause.SOURCE: Explained(
        "One address has as many sessions as it may have without a name.", "sudo iscsiadm -m session"
    ),
    Cause.BUDGET: Explained("There is no room left to write to: $why.", "scsipub janitor run"),
    Cause.TAKE_TURNS: Explained(
        "Two machines log in under one initiator name and throw each other out. Each needs its own.",
        'echo "InitiatorName=$$(iscsi-iname)" | sudo tee /etc/iscsi/initiatorname.iscsi',
    ),
    Cause.IMAGE_GONE: Explained("The image below the target is gone: $why.", "scsipub image list"),
    Cause.QUARANTINED: Explained(
        "Several workers in a row have crashed while they served this disk. It is shut away for a while, so "
        "that others are left in peace; the operator's log has the rest."
    ),
    Cause.LATE: Explained(
        "The login did not come to its end in time: the network lost it, or the initiator waited.",
        f"{_UPDATE} node.conn[0].timeo.login_timeout -v 30",
    ),
    Cause.OTHER: Explained("The login was refused: $why."),
}


def of_worker(status: int, why: str) -> Cause:
    """What a worker refused without asking: the security stage, mostly."""
    if status == LoginStatus.AUTHENTICATION_FAILURE:
        if why.startswith("no common algorithm"):
            return Cause.WEAK
        if why.startswith(("nothing to use in AuthMethod", "no authentication", "moving on without")):
            return Cause.NO_CHAP
    if status == LoginStatus.NOT_FOUND:
        return Cause.NOT_FOUND
    return Cause.OTHER


def explain(cause: Cause, **known: str) -> tuple[str, str]:
    """The words, and the command; "" where there is nothing to type."""
    found = EXPLAINED[cause]
    # What a stranger said goes into words only where it is harmless: it reaches somebody's shell.
    safe = {key: value if _harmless(value) else "?" for key, value in known.items()}
    words = {**known, "user": repr(known.get("user", ""))}
    return Template(found.words).safe_substitute(words), Template(found.mend).safe_substitute(safe)


def _harmless(text: str) -> bool:
    return all(char.isascii() and (char.isalnum() or char in ".:-_[]") for char in text)
