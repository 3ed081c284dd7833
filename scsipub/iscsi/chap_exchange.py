"""The target's side of one CHAP exchange: algorithm, challenge, response, and perhaps the way back.

Source: RFC 7143 §12.1.3, §9.2.1 (reflection).  One attempt: a second response ends the login, right or wrong.
Does not verify; it gives back the question for whoever holds the secrets."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from scsipub.errors import FramingLost, LoginRefused, PduRejected
from scsipub.iscsi import chap
from scsipub.iscsi.constants import ChapAlgorithm, LoginStatus
from scsipub.iscsi.login_records import AskSecrets, AuthPolicy, SecretsVerdict
from scsipub.iscsi.text import Pair, printable

MAX_USER_NAME_BYTES = 255


@attrs.define
class ChapExchange:
    """Living: what was asked and what came back."""

    policy: AuthPolicy
    random: Callable[[int], bytes]
    algorithm: ChapAlgorithm | None = None
    identifier: int = 0
    challenge: bytes = b""
    question: AskSecrets | None = None

    @property
    def challenged(self) -> bool:
        """Our challenge is out and unanswered."""
        return self.algorithm is not None and self.question is None

    def receive_untrusted(self, keys: Mapping[str, str]) -> tuple[list[Pair], AskSecrets | None]:
        """What to answer to these CHAP_ keys now, and what to ask of the one who holds the secrets."""
        if self.question is not None:
            raise _protocol("CHAP keys after the response")
        if "CHAP_A" in keys:
            if self.algorithm is not None or len(keys) > 1:
                raise _protocol("CHAP_A out of turn")
            return self._begin(keys["CHAP_A"]), None
        if self.algorithm is None:
            raise _protocol("a CHAP response before the challenge")
        self.question = self._read_response(keys, self.algorithm)
        return [], self.question

    def _begin(self, offered: str) -> list[Pair]:
        common = _algorithms_untrusted(offered)
        chosen = next((a for a in self.policy.algorithms if a in common), None)
        if chosen is None:
            raise LoginRefused(
                LoginStatus.AUTHENTICATION_FAILURE, f"no common algorithm in CHAP_A={printable(offered, 40)}"
            )
        self.algorithm = chosen
        self.identifier = self.random(1)[0]
        self.challenge = self.random(chap.CHALLENGE_LENGTH)
        return [
            ("CHAP_A", str(int(chosen))),
            ("CHAP_I", str(self.identifier)),
            ("CHAP_C", chap.encode_binary(self.challenge)),
        ]

    def _read_response(self, keys: Mapping[str, str], algorithm: ChapAlgorithm) -> AskSecrets:
        mutual = self._read_challenge(keys)
        name = keys.get("CHAP_N", "")
        if not 0 < len(name) <= MAX_USER_NAME_BYTES or not (name.isascii() and name.isprintable()):
            raise _failure(f"CHAP_N={printable(name, 40)} is no user name")
        length = chap.DIGEST_LENGTHS[algorithm]
        try:
            response = chap.decode_binary_untrusted(keys.get("CHAP_R", ""), length)
        except PduRejected as refused:
            raise _failure(f"CHAP_R is {refused.why}") from None
        if len(response) != length:
            raise _failure(f"CHAP_R has {len(response)} bytes, not {length}")
        if mutual is not None and not self.policy.mutual:
            raise _failure("a challenge to a target that does not prove itself")
        return AskSecrets(
            chap_name=name,
            algorithm=algorithm,
            identifier=self.identifier,
            challenge=self.challenge,
            response=response,
            mutual=mutual,
        )

    def _read_challenge(self, keys: Mapping[str, str]) -> tuple[int, bytes] | None:
        """Their challenge to us, if there is one."""
        if "CHAP_I" not in keys and "CHAP_C" not in keys:
            return None
        if "CHAP_I" not in keys or "CHAP_C" not in keys:
            raise _protocol("CHAP_I and CHAP_C come together or not at all")
        identifier = _number_untrusted(keys["CHAP_I"])
        if identifier is None or identifier > 255:
            raise _protocol(f"CHAP_I={printable(keys['CHAP_I'], 20)} is no identifier")
        try:
            challenge = chap.decode_binary_untrusted(keys["CHAP_C"], chap.MAX_CHALLENGE_LENGTH)
        except PduRejected as refused:
            raise _protocol(f"CHAP_C is {refused.why}") from None
        if challenge == self.challenge:
            # To answer would hand them the response they owe us.  §9.2.1: close, say nothing.
            raise FramingLost("our own CHAP challenge came back", "CHAP reflection")
        if len(challenge) < chap.MIN_CHALLENGE_LENGTH:
            raise _protocol(f"CHAP_C of {len(challenge)} bytes")
        return identifier, challenge

    def answer_to(self, verdict: SecretsVerdict) -> Sequence[Pair]:
        """Our own response, once theirs was found right; ``LoginRefused`` if it was not."""
        if not verdict.ok or self.question is None:
            raise _failure("the CHAP response is wrong")
        if self.question.mutual is None:
            return ()
        if verdict.mutual_name is None or verdict.mutual_response is None:
            raise _failure("a challenge to a target that does not prove itself")
        return (("CHAP_N", verdict.mutual_name), ("CHAP_R", chap.encode_binary(verdict.mutual_response)))


def _number_untrusted(text: str) -> int | None:
    """A small number in decimal or hex; None for anything else, base64 among it."""
    if not text.isascii() or len(text) > 6:
        return None
    if text[:2].lower() == "0x":
        digits = text[2:]
        return int(digits, 16) if digits and all(c in "0123456789abcdefABCDEF" for c in digits) else None
    return int(text) if text.isdigit() else None


def _algorithms_untrusted(offered: str) -> set[int]:
    """The numbers in a CHAP_A list; what is none is passed over."""
    return {n for n in map(_number_untrusted, offered.split(",")) if n is not None}


def _failure(why: str) -> LoginRefused:
    return LoginRefused(LoginStatus.AUTHENTICATION_FAILURE, why)


def _protocol(why: str) -> LoginRefused:
    return LoginRefused(LoginStatus.INITIATOR_ERROR, why)
