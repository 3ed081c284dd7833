"""The login phase as a dialogue: stages, identity, bounds.  Authentication is in test_login_chap.py."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import FramingLost, LoginRefused, PeerError
from scsipub.iscsi.constants import LoginStatus
from scsipub.iscsi.keys import KEYS
from scsipub.iscsi.login import (
    MOVES,
    AskCatalogue,
    LoginPhase,
    LoginRedirected,
    Redirect,
    Respond,
    TargetFound,
)
from scsipub.iscsi.pdu import LoginRequest, wire
from scsipub.iscsi.text import format_text
from scsipub.limits import DEFAULT
from tests.support.login_talk import (
    DISCOVERY_NAMES,
    INITIATOR,
    ISID,
    NAMES,
    TARGET,
    LoginTalk,
    counting_random,
    keys_of,
    pairs_of,
)

# What open-iscsi puts into its one request when no password is set.
OPEN_ISCSI = {
    "InitiatorName": INITIATOR,
    "InitiatorAlias": "pi",
    "TargetName": TARGET,
    "SessionType": "Normal",
    "HeaderDigest": "None",
    "DataDigest": "None",
    "DefaultTime2Wait": "2",
    "DefaultTime2Retain": "0",
    "IFMarker": "No",
    "OFMarker": "No",
    "ErrorRecoveryLevel": "0",
    "InitialR2T": "No",
    "ImmediateData": "Yes",
    "MaxBurstLength": "16776192",
    "FirstBurstLength": "262144",
    "MaxOutstandingR2T": "1",
    "MaxConnections": "1",
    "DataPDUInOrder": "Yes",
    "DataSequenceInOrder": "Yes",
    "MaxRecvDataSegmentLength": "262144",
}


def refused(talk: LoginTalk, *args: object, **kwargs: object) -> int:
    """The status with which a request is refused; afterwards the login is over for good."""
    with pytest.raises(LoginRefused) as error:
        talk.say(*args, **kwargs)  # type: ignore[arg-type]
    response = talk.phase.refusal(error.value)
    assert (response.status, response.transit, response.data) == (error.value.status, False, b"")
    assert len(error.value.why) < 400 and error.value.why.isascii() and error.value.why.isprintable()
    with pytest.raises(FramingLost):
        talk.say(NAMES, to=3)
    assert talk.finished is None
    return error.value.status


# -- where initiators begin ------------------------------------------------------------------------------


def test_one_request_in_the_operational_stage_is_a_whole_login() -> None:
    """RFC 7143 §6.3: an initiator may skip the security stage; open-iscsi does when it has no password."""
    talk = LoginTalk()

    response = talk.say(OPEN_ISCSI, stage=1, to=3)

    assert (response.transit, response.current_stage, response.next_stage) == (True, 1, 3)
    assert (response.status, response.tsih) == (0, 7)
    assert keys_of(response) == {
        "TargetPortalGroupTag": "1",
        "HeaderDigest": "None",
        "DataDigest": "None",
        "DefaultTime2Wait": "2",
        "DefaultTime2Retain": "0",
        "IFMarker": "No",
        "OFMarker": "No",
        "ErrorRecoveryLevel": "0",
        "InitialR2T": "No",
        "ImmediateData": "Yes",
        "MaxBurstLength": "16776192",
        "FirstBurstLength": "262144",
        "MaxOutstandingR2T": "1",
        "MaxConnections": "1",
        "DataPDUInOrder": "Yes",
        "DataSequenceInOrder": "Yes",
        "MaxRecvDataSegmentLength": "262144",
    }
    agreed = talk.parameters
    assert (agreed.initiator_name, agreed.target_name, agreed.initiator_alias) == (INITIATOR, TARGET, "pi")
    assert (agreed.first_burst, agreed.max_burst) == (262144, 16776192)
    assert (agreed.initial_r2t, agreed.immediate_data) == (False, True)
    assert (agreed.max_recv_data_segment, agreed.max_xmit_data_segment) == (262144, 262144)
    assert (agreed.tsih, agreed.cid, agreed.isid, agreed.principal) == (7, 0, ISID, None)


@pytest.mark.parametrize("methods", ["None", "CHAP,None", "None,CHAP"])
def test_a_boot_rom_begins_in_the_security_stage_and_gets_none(methods: str) -> None:
    """RFC 7143 §12: iPXE offers AuthMethod first and goes on from there; AuthMethod is the only answer."""
    talk = LoginTalk()

    first = talk.say({**NAMES, "AuthMethod": methods}, stage=0, to=1)
    second = talk.say(
        {
            "HeaderDigest": "None",
            "DataDigest": "None",
            "MaxConnections": "1",
            "InitialR2T": "Yes",
            "ImmediateData": "No",
            "MaxRecvDataSegmentLength": "8192",
            "MaxBurstLength": "262144",
            "FirstBurstLength": "65536",
            "DefaultTime2Wait": "0",
            "DefaultTime2Retain": "0",
            "MaxOutstandingR2T": "1",
            "DataPDUInOrder": "Yes",
            "DataSequenceInOrder": "Yes",
            "ErrorRecoveryLevel": "0",
        },
        stage=1,
        to=3,
    )

    assert keys_of(first) == {"TargetPortalGroupTag": "1", "AuthMethod": "None"}
    assert (first.transit, first.next_stage, first.tsih) == (True, 1, 0)
    assert "Reject" not in keys_of(second).values()
    assert (second.transit, second.next_stage, second.tsih) == (True, 3, 7)
    assert (talk.parameters.initial_r2t, talk.parameters.immediate_data) == (True, False)
    assert talk.parameters.max_xmit_data_segment == 8192


def test_a_login_may_go_from_security_straight_to_full_feature() -> None:
    """RFC 7143 §6.3: everything stays at its default, also the size of what we may be sent."""
    talk = LoginTalk()

    response = talk.say({**NAMES, "AuthMethod": "None"}, stage=0, to=3)

    assert (response.transit, response.next_stage) == (True, 3)
    assert keys_of(response) == {"TargetPortalGroupTag": "1", "AuthMethod": "None"}
    agreed = talk.parameters
    assert (agreed.max_recv_data_segment, agreed.max_xmit_data_segment) == (8192, 8192)
    assert (agreed.first_burst, agreed.max_burst) == (65536, 262144)
    assert (agreed.initial_r2t, agreed.immediate_data) == (True, True)
    assert (agreed.time2wait, agreed.time2retain) == (2, 20)


def test_who_does_not_speak_of_authentication_may_pass_where_none_is_asked() -> None:
    """RFC 7143 §6.3.1: without AuthMethod the security stage says nothing."""
    talk = LoginTalk()

    assert talk.say(NAMES, stage=0, to=1).transit
    assert talk.say(stage=1, to=3).transit


def test_a_stage_may_take_several_requests() -> None:
    """RFC 7143 §6.3: with T=0 the initiator stays where it is and is answered there."""
    talk = LoginTalk()

    first = talk.say({**NAMES, "HeaderDigest": "CRC32C,None"})
    second = talk.say({"DataDigest": "None,CRC32C"})
    third = talk.say(to=3)

    assert (first.transit, first.next_stage, second.transit) == (False, 0, False)
    assert keys_of(first)["HeaderDigest"] == "CRC32C"
    assert keys_of(second) == {"DataDigest": "None"}
    assert third.transit and third.data == b""
    assert (talk.parameters.header_digest, talk.parameters.data_digest) == (True, False)


@pytest.mark.parametrize("stage", range(4))
@pytest.mark.parametrize("to", [None, 0, 1, 2, 3])
def test_every_pair_of_stages_moves_or_is_refused(stage: int, to: int | None) -> None:
    """RFC 7143 §11.12.3: what is not in the table of moves is an initiator error."""
    talk = LoginTalk()

    if (stage, to) in MOVES:
        response = talk.say(NAMES, stage=stage, to=to)
        assert response.transit == (to is not None)
        assert response.next_stage == (to or 0)
    else:
        assert refused(talk, NAMES, stage=stage, to=to) == LoginStatus.INITIATOR_ERROR


def test_the_next_stage_of_a_request_that_stays_is_ignored() -> None:
    """RFC 7143 §11.12.3: NSG is reserved when T is 0."""
    assert not LoginTalk().say(NAMES, next_stage=2).transit


@pytest.mark.parametrize(("first", "then"), [(0, 1), (1, 0)])
def test_a_request_must_be_in_the_stage_we_are_in(first: int, then: int) -> None:
    """RFC 7143 §6.3: neither ahead of the moves nor back."""
    talk = LoginTalk()
    talk.say(NAMES, stage=first)

    assert refused(talk, stage=then) == LoginStatus.INITIATOR_ERROR


# -- numbers ---------------------------------------------------------------------------------------------


def test_responses_are_numbered_and_login_uses_up_no_command_number() -> None:
    """RFC 7143 §11.13.4, §11.12.8: StatSN counts responses; ExpCmdSN is the CmdSN of the login."""
    talk = LoginTalk(header={"cmd_sn": 0xFFFFFFFE})

    first = talk.say(NAMES)
    second = talk.say(to=3)

    assert [first.stat_sn, second.stat_sn] == [100, 101]
    assert (first.exp_cmd_sn, first.max_cmd_sn) == (0xFFFFFFFE, 0xFFFFFFFE)
    assert (second.exp_cmd_sn, second.max_cmd_sn) == (0xFFFFFFFE, 29)  # a window of 32 across the wrap
    assert (talk.parameters.cmd_sn, talk.parameters.stat_sn) == (0xFFFFFFFE, 102)
    assert talk.parameters.exp_stat_sn == 102


def test_the_task_tag_and_isid_come_back() -> None:
    """RFC 7143 §11.2.1.8, §11.12.5."""
    response = LoginTalk().say(NAMES, initiator_task_tag=0xDEADBEEF)

    assert (response.initiator_task_tag, response.isid) == (0xDEADBEEF, ISID)


def test_an_odd_exp_stat_sn_does_not_disturb_a_login() -> None:
    """RFC 7143 §11.12.9: some boot ROMs say anything there."""
    talk = LoginTalk(header={"exp_stat_sn": 0x12345678})

    assert talk.say(NAMES, to=3).status == 0


# -- what we say unasked ---------------------------------------------------------------------------------


def test_the_portal_group_tag_is_said_once_and_first() -> None:
    """RFC 7143 §13.9: in the first response of a normal session's login."""
    talk = LoginTalk(verdict=TargetFound(portal_group_tag=9))

    first = talk.say(NAMES)
    second = talk.say()

    assert pairs_of(first)[0] == ("TargetPortalGroupTag", "9")
    assert "TargetPortalGroupTag" not in keys_of(second)


def test_our_segment_length_is_declared_once_in_the_operational_stage() -> None:
    """RFC 7143 §13.12: a declaration of our own, whether or not the initiator made one."""
    talk = LoginTalk()

    security = talk.say(NAMES, stage=0, to=1)
    first = talk.say({"MaxRecvDataSegmentLength": "4096"})
    second = talk.say({"MaxRecvDataSegmentLength": "1024"}, to=3)

    assert "MaxRecvDataSegmentLength" not in keys_of(security)
    assert keys_of(first) == {"MaxRecvDataSegmentLength": "262144"}
    assert keys_of(second) == {}
    assert talk.parameters.max_xmit_data_segment == 1024


@given(st.lists(st.sampled_from(sorted(KEYS)), unique=True), st.sampled_from([0, 1]))
@settings(max_examples=60)
def test_nothing_is_volunteered(keys: list[str], stage: int) -> None:
    """open-iscsi ends a login over a key that it did not send, but for the two above."""
    offers = {key: OPEN_ISCSI[key] for key in keys if key in OPEN_ISCSI}

    response = LoginTalk().say({**NAMES, **offers}, stage=stage)

    assert set(keys_of(response)) <= {*offers, "TargetPortalGroupTag", "MaxRecvDataSegmentLength"}


# -- who is it, and who is it for ------------------------------------------------------------------------


def test_the_catalogue_is_asked_before_anything_is_answered() -> None:
    """The connection may still be handed to another process, which replays the request."""
    phase = LoginPhase(limits=DEFAULT, random=counting_random())
    request = LoginRequest(
        transit=True, current_stage=1, next_stage=3, isid=ISID, cid=4, data=format_text(OPEN_ISCSI.items())
    )

    assert phase.receive(request) == [
        AskCatalogue(
            session_type="Normal",
            initiator_name=INITIATOR,
            initiator_alias="pi",
            target_name=TARGET,
            isid=ISID,
            tsih=0,
            cid=4,
            answered=0,
        )
    ]


def test_a_login_replayed_elsewhere_gives_the_same_bytes() -> None:
    """What one process began another can finish: parts already answered are counted."""
    text = format_text(OPEN_ISCSI.items())
    parts = [
        LoginRequest(continued=True, current_stage=1, isid=ISID, data=text[:50]),
        LoginRequest(transit=True, current_stage=1, next_stage=3, isid=ISID, data=text[50:]),
    ]
    sent = []
    for _ in range(2):
        phase = LoginPhase(limits=DEFAULT, random=counting_random(), stat_sn=3)
        (first,) = phase.receive(parts[0])
        (question,) = phase.receive(parts[1])
        assert isinstance(first, Respond) and isinstance(question, AskCatalogue)
        assert question.answered == 1
        (last,) = phase.catalogue_says(TargetFound())
        sent.append((first, last))

    assert sent[0] == sent[1]


def test_a_discovery_session_needs_no_target_and_gets_no_portal_group_tag() -> None:
    """RFC 7143 §6.3, §13.9; keys that only matter to SCSI are irrelevant there (§13)."""
    talk = LoginTalk()

    response = talk.say(
        {**DISCOVERY_NAMES, "MaxBurstLength": "4096", "InitialR2T": "No", "DefaultTime2Wait": "2"}, to=3
    )

    assert keys_of(response) == {
        "MaxBurstLength": "Irrelevant",
        "InitialR2T": "Irrelevant",
        "DefaultTime2Wait": "2",
        "MaxRecvDataSegmentLength": "262144",
    }
    assert talk.parameters.discovery and talk.parameters.target_name is None
    assert talk.parameters.max_burst == 262144


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        ({"TargetName": TARGET}, LoginStatus.MISSING_PARAMETER),
        ({"InitiatorName": INITIATOR}, LoginStatus.MISSING_PARAMETER),
        ({"SessionType": "Discovery"}, LoginStatus.MISSING_PARAMETER),
        ({}, LoginStatus.MISSING_PARAMETER),
        ({**NAMES, "SessionType": "Party"}, LoginStatus.SESSION_TYPE_NOT_SUPPORTED),
        ({**NAMES, "TargetName": "iqn.2025-01.pub.scsipub:../etc"}, LoginStatus.NOT_FOUND),
        ({**NAMES, "TargetName": "x" * 255}, LoginStatus.NOT_FOUND),
    ],
)
def test_a_first_request_must_say_who_speaks_to_whom(keys: dict[str, str], status: int) -> None:
    """RFC 7143 §6.3, §11.13.5: InitiatorName always, TargetName unless it is a discovery."""
    assert refused(LoginTalk(), keys, to=3) == status


@pytest.mark.parametrize(
    "name",
    [
        "iqn.2025-01.org:%s%n",
        "iqn.2025-01.org:\x1b[2J",
        "iqn.2025-01.org:a\nb",
        "iqn.2025-01.org:a\0b",
        "iqn.2025-01.org:a/b",
        "iqn.2025-01.org:a..b",
        "iqn.2025-01.org:a b",
        "iqn.2025-01.org:é",
        "iqn.2025-01.org:ABC",
        "iqn." + "a" * 220,
        "iqn.",
        "disk",
        "eui.0123456789abcde",
        "naa.0123456789abcdeg",
        "",
    ],
)
def test_an_initiator_name_that_is_no_name_is_refused_and_logged_in_one_clean_line(name: str) -> None:
    """RFC 7143 §4.2.7, RFC 3722: and whatever it holds, our log shows printable ASCII only."""
    assert refused(LoginTalk(), {**NAMES, "InitiatorName": name}, to=3) == LoginStatus.INITIATOR_ERROR


def test_an_initiator_name_that_is_not_utf8_is_refused() -> None:
    """RFC 7143 §6.1: text is UTF-8."""
    data = b"InitiatorName=iqn.2025-01.org:\xff\xfe\0" + format_text([("TargetName", TARGET)])

    assert refused(LoginTalk(), data, to=3) == LoginStatus.INITIATOR_ERROR


def test_a_target_name_is_folded_to_lower_case_before_anyone_looks() -> None:
    """RFC 3722: names are compared in lower case."""
    talk = LoginTalk()
    talk.say({**NAMES, "TargetName": TARGET.upper()}, to=3)

    assert talk.parameters.target_name == TARGET


def test_an_unknown_target_is_refused_with_what_the_catalogue_said() -> None:
    """RFC 7143 §11.13.5: 0203h; open-iscsi does not try again after it."""
    talk = LoginTalk(verdict=LoginRefused(LoginStatus.NOT_FOUND, "nobody knows it"))

    with pytest.raises(LoginRefused) as error:
        talk.say(NAMES, to=3)
    response = talk.phase.refusal(error.value)

    assert (response.status, response.transit, response.current_stage, response.tsih) == (0x0203, False, 1, 0)
    assert wire(response)[36:38] == b"\x02\x03"


def test_a_target_served_elsewhere_redirects() -> None:
    """RFC 7143 §11.13.5: 0101h with TargetAddress, host and port."""
    phase = LoginPhase(limits=DEFAULT, random=counting_random())
    phase.receive(LoginRequest(current_stage=1, isid=ISID, data=format_text(NAMES.items())))

    (outcome,) = phase.catalogue_says(Redirect("disks.example:3260"))

    assert isinstance(outcome, LoginRedirected)
    assert outcome.response.status == LoginStatus.TARGET_MOVED_TEMPORARILY
    assert outcome.response.data == b"TargetAddress=disks.example:3260\0"
    assert not outcome.response.transit
    with pytest.raises(FramingLost):
        phase.receive(LoginRequest(current_stage=1, isid=ISID))


@pytest.mark.parametrize("key", ["InitiatorName", "TargetName", "SessionType"])
def test_names_may_be_repeated_but_not_changed(key: str) -> None:
    """RFC 7143 §6.3: authenticate for one target, then name another: refused."""
    other = {"InitiatorName": INITIATOR + "x", "TargetName": TARGET + "x", "SessionType": "Discovery"}
    talk = LoginTalk()
    talk.say(NAMES, stage=0, to=1)

    assert talk.say({key: NAMES[key]}).status == 0
    assert refused(talk, {key: other[key]}, to=3) == LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize(
    "field", [{"isid": bytes.fromhex("800000000002")}, {"tsih": 1}, {"cid": 1}], ids=["isid", "tsih", "cid"]
)
def test_the_session_named_at_first_is_the_session_until_the_end(field: dict[str, object]) -> None:
    """RFC 7143 §11.12.5-§11.12.7: ISID, TSIH and CID are those of the first request."""
    talk = LoginTalk()
    talk.say(NAMES)

    assert refused(talk, to=3, **field) == LoginStatus.INITIATOR_ERROR


@pytest.mark.parametrize("first", [0x00, 0x40, 0x80])
def test_each_type_of_isid_is_taken(first: int) -> None:
    """RFC 7143 §11.12.5: OUI, enterprise number, random."""
    assert LoginTalk().say(NAMES, isid=bytes((first, 0, 0, 0, 0, 1))).status == 0


def test_an_isid_of_the_reserved_type_is_refused() -> None:
    """RFC 7143 §11.12.5: both high bits set."""
    assert refused(LoginTalk(), NAMES, isid=b"\xc0\0\0\0\0\1") == LoginStatus.INITIATOR_ERROR


def test_a_session_handle_nobody_gave_out_is_refused() -> None:
    """RFC 7143 §11.13.5: 020Ah, session does not exist."""
    talk = LoginTalk(header={"tsih": 5})

    assert refused(talk, NAMES, to=3) == LoginStatus.SESSION_DOES_NOT_EXIST


def test_a_session_handle_the_catalogue_knows_is_kept() -> None:
    """RFC 7143 §6.3.4: what joins a session is answered with that session's handle."""
    talk = LoginTalk(verdict=TargetFound(tsih=5), header={"tsih": 5})

    assert talk.say(NAMES, to=3).tsih == talk.parameters.tsih == 5


def test_the_catalogue_may_choose_the_handle_of_a_new_session() -> None:
    """RFC 7143 §11.13.3: TSIH is ours to assign, and comes with the last response only."""
    talk = LoginTalk(verdict=TargetFound(tsih=300))

    assert talk.say(NAMES, stage=0, to=1).tsih == 0
    assert talk.say(to=3).tsih == 300


@pytest.mark.parametrize(("version", "status"), [(0, None), (1, LoginStatus.UNSUPPORTED_VERSION)])
def test_a_version_later_than_ours_is_refused(version: int, status: int | None) -> None:
    """RFC 7143 §11.12.4: there is one version, 00h."""
    if status is None:
        assert LoginTalk().say(NAMES, version_min=version, version_max=9).version_active == 0
    else:
        assert refused(LoginTalk(), NAMES, version_min=version, version_max=9) == status


# -- text over several requests --------------------------------------------------------------------------


@given(st.integers(0, len(format_text(OPEN_ISCSI.items()))))
@settings(max_examples=50)
def test_a_text_may_be_cut_anywhere(cut: int) -> None:
    """RFC 7143 §6.2: C=1 means the text goes on in the next request; each part gets an empty answer."""
    text = format_text(OPEN_ISCSI.items())
    talk, whole = LoginTalk(), LoginTalk()

    part = talk.say(text[:cut], continued=True)
    last = talk.say(text[cut:], to=3)

    assert (part.data, part.transit, part.continued) == (b"", False, False)
    assert last.data == whole.say(text, to=3).data
    assert talk.parameters == attrs.evolve(whole.parameters, stat_sn=102)


def test_a_request_cannot_go_on_and_move_on() -> None:
    """RFC 7143 §11.12.2: T=1 with C=1."""
    assert refused(LoginTalk(), NAMES, continued=True, to=3) == LoginStatus.INITIATOR_ERROR


def test_a_text_that_never_ends_is_cut_off() -> None:
    """Bytes of one login: 64 KiB and no more."""
    talk = LoginTalk()
    for _ in range(8):
        talk.say(b"x" * 8192, continued=True)

    assert refused(talk, b"x", continued=True) == LoginStatus.INITIATOR_ERROR


def test_empty_requests_are_answered_only_so_often() -> None:
    """Requests of one login: 20 and no more."""
    talk = LoginTalk()
    talk.say(NAMES)
    for _ in range(19):
        talk.say()

    assert refused(talk) == LoginStatus.INITIATOR_ERROR


def test_one_request_holds_8_kib_of_text_and_no_more() -> None:
    """RFC 7143 §13.12: until something else is declared, the default holds."""
    talk = LoginTalk()

    assert talk.say(bytes(8192), continued=True).status == 0
    assert refused(talk, bytes(8193), continued=True) == LoginStatus.INITIATOR_ERROR


def test_a_flood_of_keys_is_refused_and_not_echoed() -> None:
    """64 keys in one login; what is beyond gets no NotUnderstood."""
    assert refused(LoginTalk(), b"a=b\0" * 2048, to=3) == LoginStatus.INITIATOR_ERROR


def test_the_64th_key_is_answered_and_the_65th_refused() -> None:
    """The bound holds over all requests of a login, and its longest answer fits a PDU."""
    talk = LoginTalk()
    keys = [(f"X-{'a' * 58}{i:03d}", "1") for i in range(61)]

    response = talk.say([*NAMES.items(), *keys])

    assert len(response.data) < 8192
    assert dict(pairs_of(response)[1:-1]) == dict.fromkeys(dict(keys), "NotUnderstood")
    assert refused(talk, {"X-one": "2"}) == LoginStatus.INITIATOR_ERROR


def test_an_initiator_that_does_not_wait_for_answers_is_refused() -> None:
    """RFC 7143 §6.3: one request at a time."""
    phase = LoginPhase(limits=DEFAULT, random=counting_random())
    request = LoginRequest(current_stage=1, isid=ISID, data=format_text(NAMES.items()))
    phase.receive(request)

    with pytest.raises(LoginRefused):
        phase.receive(request)


@given(st.lists(st.tuples(st.binary(max_size=80), st.integers(0, 255), st.integers(0, 1)), max_size=6))
@settings(max_examples=150)
def test_noise_ends_in_a_response_or_a_refusal(requests: list[tuple[bytes, int, int]]) -> None:
    """Whatever the text and the flags are, nothing but a PeerError leaves the login."""
    talk = LoginTalk()
    talk.say(NAMES, stage=0)
    try:
        for data, flags, _ in requests:
            bhs = bytes((0x43, flags)) + bytes(6) + ISID + bytes(34)
            pdu = LoginRequest.unpack_untrusted(bhs, data)
            talk.phase.receive(pdu)
    except PeerError:
        pass


def test_an_alias_reaches_us_in_a_form_fit_to_be_shown() -> None:
    """RFC 7143 §13.7: free text; escape sequences come out escaped."""
    talk = LoginTalk()
    talk.say({**NAMES, "InitiatorAlias": "pi\x1b[2J é"}, to=3)

    assert talk.parameters.initiator_alias == "pi\\x1b[2J \\xe9"
