"""The security side of a login: which method, and whether its work is done.

Source: RFC 7143 §12 (AuthMethod), §6.3.1.  CHAP itself is in ``chap_exchange``.  Knows the target's policy,
no secrets, and of the stages only whether this is the security stage."""

from collections.abc import Callable, Mapping, Sequence

import attrs

from scsipub.errors import LoginRefused
from scsipub.iscsi.chap_exchange import ChapExchange
from scsipub.iscsi.constants import LoginStatus
from scsipub.iscsi.login_records import AskSecrets, AuthPolicy, SecretsVerdict
from scsipub.iscsi.text import Pair, printable

CHAP = "CHAP"
NONE = "None"


@attrs.define
class Security:
    """Living: how far one initiator has proved itself."""

    policy: AuthPolicy
    random: Callable[[int], bytes]
    authenticated: bool = False
    principal: str | None = None
    _offered: str | None = None
    _chap: ChapExchange | None = None

    @property
    def challenged(self) -> bool:
        """Our challenge is out and unanswered."""
        return self._chap is not None and self._chap.challenged

    @property
    def satisfied(self) -> bool:
        """Nothing more is asked of the initiator."""
        return self.authenticated or (self._chap is None and not self.policy.required)

    def check_may_negotiate(self) -> None:
        """Refuse everything in the operational stage until who must authenticate has done so."""
        if self.policy.required and not self.authenticated:
            raise _failure("no authentication before operation")

    def may_leave_stage(self) -> bool:
        """Whether the security stage has done its work; a refusal if it was to be left out."""
        if self.satisfied:
            return True
        if self._chap is None:
            raise _failure("moving on without authentication")
        return False  # chosen, so it must come to its end

    def receive_untrusted(
        self, keys: Mapping[str, str], *, in_stage: bool
    ) -> tuple[list[Pair], AskSecrets | None]:
        """Answers to the security keys of one request, and what to ask of the holder of the secrets."""
        answers: list[Pair] = []
        offered = keys.get("AuthMethod")
        if offered is not None and self._offered is None:
            chosen = self._choose(offered.split(","), in_stage=in_stage)
            self._offered = offered
            if chosen == CHAP:
                self._chap = ChapExchange(self.policy, self.random)
            answers.append(("AuthMethod", chosen))
        elif offered != self._offered and offered is not None:
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, "AuthMethod negotiated twice")
        rest = {key: value for key, value in keys.items() if key != "AuthMethod"}
        if not rest:
            return answers, None
        if self._chap is None or not in_stage:
            raise LoginRefused(LoginStatus.INITIATOR_ERROR, "CHAP keys where there is no CHAP")
        more, question = self._chap.receive_untrusted(rest)
        return answers + more, question

    def judged(self, verdict: SecretsVerdict) -> list[Pair]:
        """The holder of the secrets has spoken: our own proof, or a refusal."""
        if self._chap is None:
            raise RuntimeError("no CHAP to judge")
        answers = list(self._chap.answer_to(verdict))
        self.authenticated = True
        self.principal = verdict.principal
        return answers

    def _choose(self, offered: Sequence[str], *, in_stage: bool) -> str:
        """The first of the initiator's list that the target's policy allows."""
        for method in offered:
            if method == CHAP and self.policy.algorithms and in_stage:
                return method
            if method == NONE and not self.policy.required:
                return method
        raise _failure(f"nothing to use in AuthMethod={printable(','.join(offered), 40)}")


def _failure(why: str) -> LoginRefused:
    return LoginRefused(LoginStatus.AUTHENTICATION_FAILURE, why)
