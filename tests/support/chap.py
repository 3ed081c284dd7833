"""CHAP from the initiator's side, both ways, with every move open to a test.

Source: RFC 7143 §12.1.3, RFC 1994 §4.1.  Imports nothing of ``scsipub``.

    answer = begin(who, target)                             # AuthMethod=CHAP
    offer = choose(who, "7,5")                              # CHAP_A; the target's CHAP_I and CHAP_C come back
    prove(who, offer, "user", b"secret", mutual=b"theirs")  # CHAP_N, CHAP_R; raises LoginFailed when refused
    who.finish_login()"""

import base64
import hashlib
import os

import attrs

from tests.support.initiator import OPERATIONAL, SECURITY, Initiator
from tests.support.pdus import Pdu

ALGORITHMS = {"5": "md5", "6": "sha1", "7": "sha256", "8": "sha3_256"}


@attrs.frozen
class Offer:
    """What the target asked."""

    algorithm: str
    identifier: int
    challenge: bytes


class WrongProof(Exception):
    """The target does not know its own secret."""


def decode(text: str) -> bytes:
    """0x… or 0b… as §6.1 writes binary values."""
    if text[:2].lower() == "0x":
        digits = text[2:]
        return bytes.fromhex("0" * (len(digits) % 2) + digits)
    return base64.b64decode(text[2:])


def response(algorithm: str, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    return hashlib.new(ALGORITHMS[algorithm], bytes([identifier]) + secret + challenge).digest()


def begin(who: Initiator, target: str | None, method: str = "CHAP") -> Pdu:
    """Names and AuthMethod, in the security stage."""
    kind = {"SessionType": "Normal", "TargetName": target} if target else {"SessionType": "Discovery"}
    return who.login_step(SECURITY, None, {"InitiatorName": who.name, "AuthMethod": method} | kind)


def choose(who: Initiator, algorithms: str = "5") -> Offer:
    keys = who.login_step(SECURITY, None, {"CHAP_A": algorithms}).keys()
    return Offer(keys["CHAP_A"], int(keys["CHAP_I"], 0), decode(keys["CHAP_C"]))


def prove(who: Initiator, offer: Offer, user: str, secret: bytes, *, mutual: bytes | None = None) -> Pdu:
    """Answers the challenge; with ``mutual`` challenges the target too and may raise WrongProof."""
    answer = response(offer.algorithm, offer.identifier, secret, offer.challenge)
    keys = {"CHAP_N": user, "CHAP_R": "0x" + answer.hex()}
    challenge, identifier = os.urandom(len(answer)), os.urandom(1)[0]
    if mutual is not None:
        keys |= {"CHAP_I": str(identifier), "CHAP_C": "0x" + challenge.hex()}
    got = who.login_step(SECURITY, OPERATIONAL, keys)
    if mutual is not None:
        expected = response(offer.algorithm, identifier, mutual, challenge)
        if decode(got.keys().get("CHAP_R", "0x")) != expected:
            raise WrongProof
    return got


def login_chap(
    who: Initiator,
    target: str | None,
    user: str,
    secret: bytes,
    *,
    algorithms: str = "5",
    mutual: bytes | None = None,
    **keys: str | None,
) -> Initiator:
    """The whole login with CHAP."""
    begin(who, target)
    prove(who, choose(who, algorithms), user, secret, mutual=mutual)
    return who.finish_login(**keys)
