"""CHAP: the sums, the secrets, and how binary values are written in text keys.

Source: RFC 7143 §12.1.3, §6.1 (hex and base64 constants), RFC 1994 (what is summed).  Knows no stages and no
users.  Secrets come in as bytes and go nowhere."""

import base64
import binascii
import hashlib
import hmac
from collections.abc import Callable

import attrs

from scsipub.errors import OperatorError, PduRejected
from scsipub.iscsi.constants import ChapAlgorithm, RejectReason
from scsipub.iscsi.login_records import AskSecrets, SecretsVerdict

STRONGEST_FIRST = (ChapAlgorithm.SHA3_256, ChapAlgorithm.SHA256, ChapAlgorithm.SHA1, ChapAlgorithm.MD5)
DIGEST_LENGTHS = {
    ChapAlgorithm.MD5: 16,
    ChapAlgorithm.SHA1: 20,
    ChapAlgorithm.SHA256: 32,
    ChapAlgorithm.SHA3_256: 32,
}
_HASHES = {
    ChapAlgorithm.MD5: "md5",
    ChapAlgorithm.SHA1: "sha1",
    ChapAlgorithm.SHA256: "sha256",
    ChapAlgorithm.SHA3_256: "sha3_256",
}

CHALLENGE_LENGTH = 32
MIN_CHALLENGE_LENGTH = 16  # of theirs: a shorter one could be one we were asked before
MAX_CHALLENGE_LENGTH = 1024  # §12.1.3
MIN_SECRET_LENGTH = 12  # 96 bits, §9.2.1
MAX_SECRET_LENGTH = 255
SECRET_ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
GENERATED_SECRET_LENGTH = 16  # 96 bits of this alphabet; Windows takes 12 to 16 characters

# What is summed when there is no such user, so that the answer takes as long.
_NOBODY = b"there is no such user"


def at_least(floor: ChapAlgorithm) -> tuple[ChapAlgorithm, ...]:
    """The algorithms not weaker than ``floor``, strongest first."""
    return STRONGEST_FIRST[: STRONGEST_FIRST.index(floor) + 1]


def digest(algorithm: ChapAlgorithm, identifier: int, secret: bytes, challenge: bytes) -> bytes:
    """The response to a challenge."""
    text = bytes((identifier,)) + secret + challenge
    return hashlib.new(_HASHES[algorithm], text, usedforsecurity=False).digest()


def verify(
    algorithm: ChapAlgorithm, identifier: int, secret: bytes | None, challenge: bytes, response: bytes
) -> bool:
    """Whether the response is right.  No secret: takes as long, and is not."""
    expected = digest(algorithm, identifier, _NOBODY if secret is None else secret, challenge)
    return hmac.compare_digest(expected, response) and secret is not None


@attrs.frozen(kw_only=True)
class Account:
    """Somebody who may log in, and how we prove ourselves to them."""

    principal: str
    secret: bytes = attrs.field(repr=False)
    mutual_name: str | None = None
    mutual_secret: bytes | None = attrs.field(default=None, repr=False)


def judge(question: AskSecrets, account: Account | None) -> SecretsVerdict:
    """The verdict on a response, for the one who holds the secrets.  ``None``: no such account."""
    secret = None if account is None else account.secret
    right = verify(question.algorithm, question.identifier, secret, question.challenge, question.response)
    if account is None or not right:
        return SecretsVerdict(ok=False)
    if question.mutual is None:
        return SecretsVerdict(ok=True, principal=account.principal)
    if account.mutual_name is None or account.mutual_secret is None:
        return SecretsVerdict(ok=False)
    identifier, challenge = question.mutual
    ours = digest(question.algorithm, identifier, account.mutual_secret, challenge)
    return SecretsVerdict(
        ok=True, principal=account.principal, mutual_name=account.mutual_name, mutual_response=ours
    )


def check_secrets(secret: bytes, mutual_secret: bytes | None = None) -> None:
    """Refuse at configuration what would be weak on the wire."""
    for each in (secret,) if mutual_secret is None else (secret, mutual_secret):
        if not MIN_SECRET_LENGTH <= len(each) <= MAX_SECRET_LENGTH:
            raise OperatorError(
                f"A CHAP secret has {len(each)} bytes.",
                f"Use {MIN_SECRET_LENGTH} to {MAX_SECRET_LENGTH}; Windows takes no more than 16.",
            )
    if mutual_secret is not None and hmac.compare_digest(secret, mutual_secret):
        raise OperatorError(
            "The CHAP secrets of both directions are equal.",
            "Choose two: whoever is asked to prove one could otherwise have it proved by the other side.",
        )


def generate_secret(random: Callable[[int], bytes]) -> str:
    """A secret of our own making: 16 characters, 96 random bits."""
    return "".join(SECRET_ALPHABET[byte & 63] for byte in random(GENERATED_SECRET_LENGTH))


def encode_binary(value: bytes) -> str:
    """A binary value in hex, which every initiator reads; not all read base64."""
    return "0x" + value.hex()


def decode_binary_untrusted(text: str, maximum: int) -> bytes:
    """A binary value of at most so many bytes, in hex or base64.  No more is decoded than that."""
    form, body = text[:2].lower(), text[2:]
    try:
        if form == "0x" and 0 < len(body) <= 2 * maximum:
            # bytes.fromhex skips blanks, unhexlify does not
            return binascii.unhexlify("0" * (len(body) % 2) + body)
        if form == "0b" and 0 < len(body) <= 4 * (-(-maximum // 3)):
            decoded = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
            if len(decoded) <= maximum:
                return decoded
    except ValueError:  # binascii.Error is one
        pass
    raise PduRejected(RejectReason.PROTOCOL_ERROR, f"not a binary value of at most {maximum} bytes")
