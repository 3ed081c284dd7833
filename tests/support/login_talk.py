"""A login as a dialogue: what the initiator says, what our side answers, with a catalogue that is a dial."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import attrs

from scsipub.errors import LoginRefused
from scsipub.iscsi import chap
from scsipub.iscsi.constants import ChapAlgorithm
from scsipub.iscsi.login import (
    AskCatalogue,
    AskSecrets,
    AuthPolicy,
    LoginFinished,
    LoginPhase,
    LoginRedirected,
    Negotiated,
    Respond,
    TargetFound,
    Verdict,
)
from scsipub.iscsi.pdu import LoginRequest, LoginResponse
from scsipub.iscsi.text import format_text
from scsipub.limits import DEFAULT, Limits

INITIATOR = "iqn.1993-08.org.debian:01:abc"
TARGET = "iqn.2025-01.pub.scsipub:blank"
ISID = bytes.fromhex("800000000001")
NAMES = {"InitiatorName": INITIATOR, "TargetName": TARGET, "SessionType": "Normal"}
DISCOVERY_NAMES = {"InitiatorName": INITIATOR, "SessionType": "Discovery"}

USER = "alice"
SECRET = b"correct horse ba"
MUTUAL_NAME = "scsipub"
MUTUAL_SECRET = b"battery staple 1"
ALICE = chap.Account(
    principal="tenant-1", secret=SECRET, mutual_name=MUTUAL_NAME, mutual_secret=MUTUAL_SECRET
)


def counting_random() -> Callable[[int], bytes]:
    """Bytes that never repeat and never surprise."""
    numbers: Iterator[int] = iter(range(1, 1_000_000))
    return lambda count: (b"%032d" % next(numbers))[-count:].rjust(count, b"R")


def chap_policy(
    floor: ChapAlgorithm = ChapAlgorithm.MD5, *, required: bool = True, mutual: bool = False
) -> AuthPolicy:
    """A target that wants CHAP."""
    return AuthPolicy(required=required, algorithms=chap.at_least(floor), mutual=mutual)


@attrs.define
class LoginTalk:
    """One connection in its login phase."""

    verdict: Verdict | LoginRefused = attrs.field(factory=TargetFound)
    limits: Limits = DEFAULT
    account: chap.Account | None = ALICE
    phase: LoginPhase = attrs.field(init=False)
    finished: Negotiated | None = attrs.field(default=None, init=False)
    catalogue_question: AskCatalogue | None = attrs.field(default=None, init=False)
    secrets_question: AskSecrets | None = attrs.field(default=None, init=False)
    header: dict[str, Any] = attrs.field(factory=dict)

    def __attrs_post_init__(self) -> None:
        self.phase = LoginPhase(limits=self.limits, random=counting_random(), tsih=7, stat_sn=100)

    def say(
        self,
        keys: Mapping[str, str] | list[tuple[str, str]] | bytes = b"",
        *,
        stage: int = 1,
        to: int | None = None,
        **fields: Any,
    ) -> LoginResponse:
        """One request and its response; ``to`` is the stage to move to.  Refusals are raised."""
        if isinstance(keys, bytes):
            data = keys
        else:
            data = format_text(keys.items() if isinstance(keys, Mapping) else keys)
        values: dict[str, Any] = {"immediate": True, "isid": ISID, "initiator_task_tag": 5, "cmd_sn": 1}
        values |= {"transit": to is not None, "next_stage": to or 0, "current_stage": stage, "data": data}
        outcomes = self.phase.receive(LoginRequest(**(values | self.header | fields)))
        while True:
            assert len(outcomes) == 1
            outcome = outcomes[0]
            match outcome:
                case AskCatalogue():
                    self.catalogue_question = outcome
                    if isinstance(self.verdict, LoginRefused):
                        raise self.verdict
                    outcomes = self.phase.catalogue_says(self.verdict)
                case AskSecrets():
                    self.secrets_question = outcome
                    known = self.account if outcome.chap_name == USER else None
                    outcomes = self.phase.secrets_say(chap.judge(outcome, known))
                case LoginFinished():
                    self.finished = outcome.parameters
                    return outcome.response
                case LoginRedirected() | Respond():
                    return outcome.response

    @property
    def parameters(self) -> Negotiated:
        """What was agreed; the login must have ended well."""
        assert self.finished is not None
        return self.finished


def pairs_of(response: LoginResponse) -> list[tuple[str, str]]:
    """The keys of a response in their order."""
    items = response.data.decode().split("\0")
    assert items.pop() == "" or not response.data
    return [(item.partition("=")[0], item.partition("=")[2]) for item in items]


def keys_of(response: LoginResponse) -> dict[str, str]:
    """The keys of a response; none may be there twice."""
    pairs = pairs_of(response)
    assert len(dict(pairs)) == len(pairs)
    return dict(pairs)
