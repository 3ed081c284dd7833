"""CHAP as a dialogue within the login phase."""

import base64
import os

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import FramingLost, LoginRefused, PeerError
from scsipub.iscsi import chap
from scsipub.iscsi.constants import ChapAlgorithm, LoginStatus
from scsipub.iscsi.login import AskSecrets, AuthPolicy, LoginPhase, SecretsVerdict, TargetFound
from scsipub.iscsi.pdu import LoginRequest, LoginResponse
from scsipub.iscsi.text import format_text
from scsipub.limits import DEFAULT
from tests.support.login_talk import (
    DISCOVERY_NAMES,
    ISID,
    MUTUAL_NAME,
    MUTUAL_SECRET,
    NAMES,
    SECRET,
    TARGET,
    USER,
    LoginTalk,
    chap_policy,
    keys_of,
)

MINE = bytes(range(100, 132))  # the initiator's challenge
ALGORITHMS = list(ChapAlgorithm)
FAILED = LoginStatus.AUTHENTICATION_FAILURE
WRONG = LoginStatus.INITIATOR_ERROR


def talk_to(policy: AuthPolicy | None = None) -> LoginTalk:
    return LoginTalk(verdict=TargetFound(auth=chap_policy() if policy is None else policy))


def challenged(talk: LoginTalk, algorithms: str = "5") -> LoginResponse:
    """Up to and with our challenge."""
    first = talk.say({**NAMES, "AuthMethod": "CHAP,None"}, stage=0, to=1)
    assert keys_of(first) == {"TargetPortalGroupTag": "1", "AuthMethod": "CHAP"}
    assert not first.transit
    return talk.say({"CHAP_A": algorithms}, stage=0, to=1)


def response_to(challenge: LoginResponse, secret: bytes = SECRET) -> bytes:
    keys = keys_of(challenge)
    return chap.digest(
        ChapAlgorithm(int(keys["CHAP_A"])),
        int(keys["CHAP_I"]),
        secret,
        chap.decode_binary_untrusted(keys["CHAP_C"], 1024),
    )


def credentials(challenge: LoginResponse, secret: bytes = SECRET, name: str = USER) -> dict[str, str]:
    return {"CHAP_N": name, "CHAP_R": chap.encode_binary(response_to(challenge, secret))}


def refused(talk: LoginTalk, keys: dict[str, str] | bytes, stage: int = 0, to: int | None = 1) -> int:
    with pytest.raises(LoginRefused) as error:
        talk.say(keys, stage=stage, to=to)
    assert talk.finished is None
    with pytest.raises(FramingLost):
        talk.say(keys, stage=stage, to=to)
    return error.value.status


# -- the way in ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_right_response_opens_the_way(algorithm: ChapAlgorithm) -> None:
    """RFC 7143 §12.1.3: A, then I and C, then N and R; then the next stage."""
    talk = talk_to()

    challenge = challenged(talk, str(int(algorithm)))
    assert list(keys_of(challenge)) == ["CHAP_A", "CHAP_I", "CHAP_C"] and not challenge.transit
    granted = talk.say(credentials(challenge), stage=0, to=1)
    last = talk.say(to=3)

    assert (granted.data, granted.transit, granted.next_stage) == (b"", True, 1)
    assert last.transit and talk.parameters.principal == "tenant-1"


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_mutual_chap_answers_the_initiators_challenge(algorithm: ChapAlgorithm) -> None:
    """RFC 7143 §12.1.3: I and C beside the response, N and R in the same answer."""
    talk = talk_to(chap_policy(mutual=True))
    challenge = challenged(talk, str(int(algorithm)))

    granted = talk.say(
        {**credentials(challenge), "CHAP_I": "0x7f", "CHAP_C": chap.encode_binary(MINE)}, stage=0, to=1
    )

    assert granted.transit
    assert keys_of(granted) == {
        "CHAP_N": MUTUAL_NAME,
        "CHAP_R": chap.encode_binary(chap.digest(algorithm, 0x7F, MUTUAL_SECRET, MINE)),
    }


def test_the_response_may_come_without_moving_on() -> None:
    """RFC 7143 §6.3: T=0 stays in the security stage, the next empty request moves."""
    talk = talk_to()
    challenge = challenged(talk)

    assert not talk.say(credentials(challenge), stage=0).transit
    assert talk.say(stage=0, to=3).transit
    assert talk.parameters.principal == "tenant-1"


def test_chap_may_lead_straight_to_full_feature() -> None:
    """RFC 7143 §6.3: from the security stage with NSG=3."""
    talk = talk_to()

    assert talk.say(credentials(challenged(talk)), stage=0, to=3).next_stage == 3
    assert talk.parameters.principal == "tenant-1"


def test_a_discovery_may_ask_for_chap() -> None:
    """RFC 7143 §12: the stages are the same; a tenant is shown its own."""
    talk = talk_to(chap_policy(required=False))
    talk.say({**DISCOVERY_NAMES, "AuthMethod": "CHAP,None"}, stage=0, to=1)
    talk.say(credentials(talk.say({"CHAP_A": "7"}, stage=0, to=1)), stage=0, to=1)
    talk.say(to=3)

    assert talk.parameters.discovery and talk.parameters.principal == "tenant-1"


@pytest.mark.parametrize("name", ["0xabcdef", "0bQUJD", "Alice Smith", "iqn.2025-01.org:x"])
def test_a_user_name_is_text_whatever_it_looks_like(name: str) -> None:
    """RFC 7143 §12.1.3: CHAP_N is text, so 0x and 0b mean nothing in it."""
    talk = talk_to()
    challenge = challenged(talk)

    assert refused(talk, credentials(challenge, name=name)) == FAILED  # nobody of that name here ...
    assert talk.secrets_question is not None
    assert talk.secrets_question.chap_name == name  # ... but that name was asked about


@pytest.mark.parametrize("name", ["0x616c696365", "0bYWxpY2U="])
def test_who_is_called_like_a_number_logs_in_under_that_name(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """RFC 7143 §12.1.3: neither decoded nor refused."""
    monkeypatch.setattr("tests.support.login_talk.USER", name)
    talk = talk_to()

    talk.say(credentials(challenged(talk), name=name), stage=0, to=3)

    assert talk.parameters.principal == "tenant-1"


def test_a_response_in_base64_is_as_good() -> None:
    """RFC 7143 §6.1."""
    talk = talk_to()
    based = base64.b64encode(response_to(challenged(talk))).decode()

    assert talk.say({"CHAP_N": USER, "CHAP_R": "0b" + based}, stage=0, to=1).transit


def test_auth_method_may_be_repeated_unchanged() -> None:
    """Some initiators say it in every request of the stage; it is answered once."""
    talk = talk_to()
    talk.say({**NAMES, "AuthMethod": "CHAP"}, stage=0, to=1)

    challenge = talk.say({"AuthMethod": "CHAP", "CHAP_A": "5"}, stage=0, to=1)

    assert "AuthMethod" not in keys_of(challenge)


# -- which algorithm -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [("5", 5), ("5,6,7,8", 8), ("8,7,6,5", 8), ("6,5", 6), ("5,7", 7), ("0x7", 7), ("9,x,5", 5)],
)
def test_the_strongest_common_algorithm_is_chosen(offered: str, chosen: int) -> None:
    """Whatever order the initiator lists them in; what is no number is passed over."""
    assert keys_of(challenged(talk_to(), offered))["CHAP_A"] == str(chosen)


@pytest.mark.parametrize("offered", ["56", "", "0", ",", "5;6", "-5", "5" * 200])
def test_no_common_algorithm_is_an_authentication_failure(offered: str) -> None:
    """RFC 7143 §12.1.3: nothing to go on with."""
    talk = talk_to()
    talk.say({**NAMES, "AuthMethod": "CHAP"}, stage=0, to=1)

    assert refused(talk, {"CHAP_A": offered}) == FAILED


def test_a_hundred_algorithms_are_read_and_three_hundred_refused() -> None:
    """RFC 7143 §6.1: a value has 255 bytes."""
    assert keys_of(challenged(talk_to(), ",".join(["5"] * 100)))["CHAP_A"] == "5"
    talk = talk_to()
    talk.say({**NAMES, "AuthMethod": "CHAP"}, stage=0, to=1)
    assert refused(talk, {"CHAP_A": ",".join(["5"] * 300)}) == WRONG


@pytest.mark.parametrize(
    ("offered", "ok"), [("5", False), ("6", False), ("5,6", False), ("7", True), ("5,8", True)]
)
def test_a_target_may_refuse_weak_algorithms(offered: str, ok: bool) -> None:
    """A floor per target: SHA-256 here."""
    talk = talk_to(chap_policy(ChapAlgorithm.SHA256))
    talk.say({**NAMES, "AuthMethod": "CHAP"}, stage=0, to=1)
    if ok:
        assert talk.say({"CHAP_A": offered}, stage=0, to=1).status == 0
    else:
        assert refused(talk, {"CHAP_A": offered}) == FAILED


# -- no way around it ------------------------------------------------------------------------------------


def test_beginning_in_the_operational_stage_does_not_avoid_authentication() -> None:
    """RFC 7143 §6.3.1: a target that wants CHAP answers with 0201h."""
    assert refused(talk_to(), NAMES, stage=1, to=3) == FAILED


def test_staying_in_the_operational_stage_does_not_avoid_it_either() -> None:
    """Not even one answer."""
    assert refused(talk_to(), {**NAMES, "HeaderDigest": "None"}, stage=1, to=None) == FAILED


@pytest.mark.parametrize("methods", ["None", "KRB5", "KRB5,None", "SRP", "", "chap"])
def test_a_target_that_wants_chap_takes_nothing_else(methods: str) -> None:
    """RFC 7143 §12: none of the list is acceptable."""
    assert refused(talk_to(), {**NAMES, "AuthMethod": methods}) == FAILED


@pytest.mark.parametrize("to", [1, 3])
def test_moving_on_without_a_word_about_authentication_is_refused(to: int) -> None:
    """RFC 7143 §12: no AuthMethod offered means none."""
    assert refused(talk_to(), NAMES, to=to) == FAILED


@pytest.mark.parametrize("to", [1, 3])
def test_moving_on_before_the_response_goes_nowhere(to: int) -> None:
    """RFC 7143 §6.3: the target answers T=0 as long as it is not satisfied."""
    talk = talk_to()
    challenged(talk)

    for _ in range(3):
        assert not talk.say(stage=0, to=to).transit
    assert refused(talk, {}, stage=1, to=3) == WRONG


@pytest.mark.parametrize("methods", ["CHAP", "KRB5"])
def test_a_target_without_secrets_cannot_be_asked_for_chap(methods: str) -> None:
    """Nobody could say whether the response is right: refused, not waved through."""
    assert refused(talk_to(AuthPolicy()), {**NAMES, "AuthMethod": methods}) == FAILED


def test_authentication_that_is_optional_is_done_when_it_comes_first() -> None:
    """RFC 7143 §12: the first of the list that we support."""
    for methods, chosen in (("CHAP,None", "CHAP"), ("None,CHAP", "None")):
        talk = talk_to(chap_policy(required=False))
        first = talk.say({**NAMES, "AuthMethod": methods}, stage=0, to=1)
        assert keys_of(first)["AuthMethod"] == chosen


def test_authenticating_for_one_target_does_not_open_another() -> None:
    """The target named first is the target."""
    talk = talk_to()
    talk.say(credentials(challenged(talk)), stage=0, to=1)

    assert refused(talk, {"TargetName": TARGET + "2"}, stage=1, to=3) == WRONG


# -- wrong answers ---------------------------------------------------------------------------------------


def flip(digest: bytes, at: int) -> str:
    changed = bytearray(digest)
    changed[at] ^= 1
    return chap.encode_binary(bytes(changed))


@pytest.mark.parametrize("at", [0, -1])
def test_a_response_that_differs_in_one_byte_is_wrong(at: int) -> None:
    """The first or the last byte: one status, one path."""
    talk = talk_to()
    response = response_to(challenged(talk))

    assert refused(talk, {"CHAP_N": USER, "CHAP_R": flip(response, at)}) == FAILED


def test_who_the_user_is_cannot_be_told_from_the_refusal() -> None:
    """Unknown user, wrong secret, wrong target: same number of rounds, same bytes."""
    answers = []
    for name, secret in ((USER, b"wrong secret 123"), ("mallory", SECRET), ("mallory", b"wrong secret 123")):
        talk = talk_to()
        challenge = challenged(talk)
        with pytest.raises(LoginRefused) as error:
            talk.say(credentials(challenge, secret, name), stage=0, to=1)
        answers.append((error.value.why, talk.phase.refusal(error.value)))

    assert answers[0] == answers[1] == answers[2]


def test_only_one_response_may_be_tried() -> None:
    """After the first the login is over, right or wrong."""
    talk = talk_to()
    challenge = challenged(talk)
    with pytest.raises(LoginRefused):
        talk.say(credentials(challenge, b"wrong secret 123"), stage=0, to=1)

    with pytest.raises(FramingLost):
        talk.say(credentials(challenge), stage=0, to=1)


@pytest.mark.parametrize("keys", [{"CHAP_R": "0x00"}, {"CHAP_A": "5"}, {"CHAP_N": USER}])
def test_chap_keys_after_success_are_an_error(keys: dict[str, str]) -> None:
    """RFC 7143 §6.3: nothing is negotiated twice, in this stage or in the next."""
    talk = talk_to()
    talk.say(credentials(challenged(talk)), stage=0)
    assert refused(talk, keys) == WRONG

    talk = talk_to()
    talk.say(credentials(challenged(talk)), stage=0, to=1)
    assert refused(talk, keys, stage=1, to=3) == WRONG


def test_a_response_recorded_from_another_connection_is_worthless() -> None:
    """Each connection has a challenge of its own."""
    first = LoginTalk(verdict=TargetFound(auth=chap_policy()))
    recorded = credentials(challenged(first))
    second = LoginTalk(verdict=TargetFound(auth=chap_policy()))
    second.phase.random = os.urandom
    challenged(second)

    assert refused(second, recorded) == FAILED


def test_challenges_and_identifiers_do_not_repeat() -> None:
    """32 random bytes each; the identifier is random too."""
    challenges, identifiers = set(), set()
    for _ in range(500):
        talk = talk_to()
        talk.phase.random = os.urandom
        keys = keys_of(challenged(talk))
        challenges.add(keys["CHAP_C"])
        identifiers.add(keys["CHAP_I"])

    assert len(challenges) == 500 and all(len(c) == 2 + 64 for c in challenges)
    assert len(identifiers) > 100


@pytest.mark.parametrize(
    "response",
    [
        "",
        "0x",
        "0b",
        "0b" + "A" * 127,
        "0x" + "00" * 15,
        "0x" + "00" * 17,
        "0x" + "00" * 1024,
        "not hex",
        "0xzz",
    ],
)
def test_a_response_of_the_wrong_form_or_size_is_an_authentication_failure(response: str) -> None:
    """And nothing longer than a digest is decoded."""
    talk = talk_to()
    challenged(talk)

    assert refused(talk, {"CHAP_N": USER, "CHAP_R": response}) == FAILED


def test_a_right_digest_behind_other_bytes_is_wrong() -> None:
    """A valid base64 text glued in front of it decodes to more than a digest."""
    talk = talk_to()
    right = base64.b64encode(bytes(3) + response_to(challenged(talk))).decode()

    assert refused(talk, {"CHAP_N": USER, "CHAP_R": "0b" + right}) == FAILED


@pytest.mark.parametrize("missing", ["CHAP_N", "CHAP_R"])
def test_name_and_response_come_together(missing: str) -> None:
    """RFC 7143 §12.1.3."""
    talk = talk_to()
    keys = credentials(challenged(talk))
    del keys[missing]

    assert refused(talk, keys) == FAILED


@pytest.mark.parametrize(
    "name", [b"", b"\xff\xfe", "héloïse".encode(), b"a" * 256, b"a" * 3000, b"a\0b", b"a\x1b[2J"]
)
def test_a_user_name_that_cannot_be_is_an_authentication_failure(name: bytes) -> None:
    """Not ASCII, longer than 255 bytes, with a NUL: nobody is called so."""
    talk = talk_to()
    digest = chap.encode_binary(response_to(challenged(talk))).encode()

    assert refused(talk, b"CHAP_R=" + digest + b"\0CHAP_N=" + name + b"\0") == FAILED


def test_a_user_name_of_255_bytes_is_asked_about() -> None:
    """The last one allowed."""
    talk = talk_to()

    assert refused(talk, credentials(challenged(talk), name="a" * 255)) == FAILED
    assert talk.secrets_question is not None


# -- order -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [{"CHAP_A": "5"}, {"CHAP_N": USER, "CHAP_R": "0x00"}])
def test_chap_keys_before_chap_is_chosen_are_an_error(keys: dict[str, str]) -> None:
    """RFC 7143 §12: AuthMethod comes first."""
    assert refused(talk_to(), {**NAMES, **keys}) == WRONG


@pytest.mark.parametrize("keys", [{"CHAP_N": USER, "CHAP_R": "0x00"}, {"CHAP_I": "1"}])
def test_a_response_before_the_challenge_is_an_error(keys: dict[str, str]) -> None:
    """RFC 7143 §12.1.3: A, then I and C, then N and R."""
    talk = talk_to()
    talk.say({**NAMES, "AuthMethod": "CHAP"}, stage=0, to=1)

    assert refused(talk, keys) == WRONG


@pytest.mark.parametrize("extra", [{}, {"CHAP_N": USER}])
def test_a_second_choice_of_algorithm_is_an_error(extra: dict[str, str]) -> None:
    """RFC 7143 §6.3: it would make a second challenge."""
    talk = talk_to()
    challenged(talk)

    assert refused(talk, {"CHAP_A": "5", **extra}) == WRONG


def test_a_key_of_chap_twice_in_one_request_is_an_error() -> None:
    """Which of the two would count?"""
    talk = talk_to()
    keys = credentials(challenged(talk))

    assert refused(talk, format_text([*keys.items(), ("CHAP_R", "0x00")])) == WRONG


# -- the way back ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("identifier", "ok"),
    [
        ("0", True),
        ("127", True),
        ("255", True),
        ("0x7f", True),
        ("0XFF", True),
        ("256", False),
        ("0x100", False),
        ("-1", False),
        ("0b01", False),
        ("", False),
        ("0x", False),
        ("1" * 100, False),
        ("٣", False),
    ],
)
def test_the_initiators_identifier_is_one_byte_in_decimal_or_hex(identifier: str, ok: bool) -> None:
    """RFC 7143 §12.1.3: CHAP_I."""
    talk = talk_to(chap_policy(mutual=True))
    keys = {**credentials(challenged(talk)), "CHAP_I": identifier, "CHAP_C": chap.encode_binary(MINE)}
    if ok:
        assert "CHAP_R" in keys_of(talk.say(keys, stage=0, to=1))
    else:
        assert refused(talk, keys) == WRONG


@pytest.mark.parametrize(("length", "ok"), [(15, False), (16, True), (1024, True), (1025, False)])
def test_the_initiators_challenge_has_16_to_1024_bytes(length: int, ok: bool) -> None:
    """RFC 7143 §12.1.3: a large binary; a tiny one might be asked twice."""
    talk = talk_to(chap_policy(mutual=True))
    keys = {
        **credentials(challenged(talk)),
        "CHAP_I": "1",
        "CHAP_C": chap.encode_binary(MINE * 33)[: 2 + 2 * length],
    }
    if ok:
        assert "CHAP_R" in keys_of(talk.say(keys, stage=0, to=1))
    else:
        # One byte above 1024 is already too long a value to be told apart from any other malformed text.
        assert refused(talk, keys) == (WRONG if length < 1024 else FAILED)


@pytest.mark.parametrize("based", [False, True])
def test_our_own_challenge_reflected_closes_the_connection_without_a_word(based: bool) -> None:
    """RFC 7143 §9.2.1: to answer it would hand out the response we are waiting for."""
    talk = talk_to(chap_policy(mutual=True))
    challenge = challenged(talk)
    ours = keys_of(challenge)["CHAP_C"]
    if based:
        ours = "0b" + base64.b64encode(bytes.fromhex(ours[2:])).decode()

    with pytest.raises(FramingLost):
        talk.say({**credentials(challenge), "CHAP_I": "1", "CHAP_C": ours}, stage=0, to=1)
    assert talk.secrets_question is None


def test_a_wrong_response_gets_no_response_of_ours() -> None:
    """RFC 7143 §12.1.3: first they prove themselves."""
    talk = talk_to(chap_policy(mutual=True))
    keys = credentials(challenged(talk), b"wrong secret 123")

    assert refused(talk, {**keys, "CHAP_I": "1", "CHAP_C": chap.encode_binary(MINE)}) == FAILED


def test_a_challenge_to_a_target_that_does_not_prove_itself_fails() -> None:
    """RFC 7143 §12.1.3: the initiator asked for it, so going on without would deceive it."""
    talk = talk_to(chap_policy(mutual=False))
    keys = credentials(challenged(talk))

    assert refused(talk, {**keys, "CHAP_I": "1", "CHAP_C": chap.encode_binary(MINE)}) == FAILED


@pytest.mark.parametrize("missing", ["CHAP_I", "CHAP_C"])
def test_the_initiators_identifier_and_challenge_come_together(missing: str) -> None:
    """RFC 7143 §12.1.3."""
    talk = talk_to(chap_policy(mutual=True))
    keys = {**credentials(challenged(talk)), "CHAP_I": "1", "CHAP_C": chap.encode_binary(MINE)}
    del keys[missing]

    assert refused(talk, keys) == WRONG


# -- those who hold the secrets --------------------------------------------------------------------------


def asked() -> tuple[LoginPhase, AskSecrets]:
    """A login that waits for a verdict."""
    phase = LoginPhase(limits=DEFAULT, random=os.urandom)

    def say(**keys: str) -> list[object]:
        return list(
            phase.receive(LoginRequest(transit=True, next_stage=1, isid=ISID, data=format_text(keys.items())))
        )

    say(**NAMES, AuthMethod="CHAP")
    phase.catalogue_says(TargetFound(auth=chap_policy()))
    say(CHAP_A="5")
    (question,) = say(CHAP_N=USER, CHAP_R="0x" + "00" * 16)
    assert isinstance(question, AskSecrets)
    return phase, question


@pytest.mark.parametrize("status", [LoginStatus.TARGET_ERROR, LoginStatus.SERVICE_UNAVAILABLE])
def test_when_nobody_can_judge_the_initiator_is_told_to_come_again(status: LoginStatus) -> None:
    """RFC 7143 §11.13.5: class 3, which initiators retry; no access meanwhile."""
    phase, _ = asked()

    answer = phase.refusal(LoginRefused(status, "the holder of the secrets is away"))

    assert (answer.status, answer.transit, answer.data) == (status, False, b"")
    with pytest.raises(FramingLost):
        phase.secrets_say(SecretsVerdict(ok=True, principal="late"))


def test_a_verdict_nobody_asked_for_is_our_own_mistake() -> None:
    """Not the initiator's: RuntimeError, so that the session dies and is counted."""
    phase = LoginPhase(limits=DEFAULT, random=os.urandom)

    with pytest.raises(RuntimeError):
        phase.secrets_say(SecretsVerdict(ok=True))
    with pytest.raises(RuntimeError):
        phase.catalogue_says(TargetFound())


@given(
    st.lists(
        st.dictionaries(
            st.sampled_from(["AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"]),
            st.one_of(
                st.sampled_from(["CHAP", "None", "5", "8", "alice", "0x00", "0b", "0x" + "00" * 16]),
                st.text(max_size=20),
            ),
            max_size=4,
        ),
        max_size=6,
    ),
    st.sampled_from([None, 1, 3]),
)
@settings(max_examples=200)
def test_no_sequence_of_guesses_gets_in(steps: list[dict[str, str]], to: int | None) -> None:
    """Whatever is said in whichever order: without the secret there is no session."""
    talk = talk_to()
    try:
        talk.say(NAMES, stage=0)
        for keys in steps:
            talk.say(keys, stage=0, to=to)
    except PeerError:
        pass

    assert talk.finished is None and talk.phase.principal is None
