"""Text keys: one row each, and how two offers become one value."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import PduRejected
from scsipub.iscsi.keys import (
    DEFAULTS,
    KEYS,
    SECURITY_KEYS,
    Combine,
    Number,
    Sender,
    Value,
    negotiate_untrusted,
    wanted,
)
from scsipub.limits import DEFAULT

OURS = wanted(DEFAULT)
NUMBERS = sorted(k for k, row in KEYS.items() if row.combine in (Combine.MIN, Combine.MAX))
BOOLEANS = sorted(k for k, row in KEYS.items() if row.combine in (Combine.AND, Combine.OR))


def negotiate(key: str, text: str) -> tuple[str | None, Value | None]:
    return negotiate_untrusted(key, text, OURS.get(key))


def test_the_table_has_every_key_of_the_rfc() -> None:
    """RFC 7143 §12, §13."""
    assert set(KEYS) == {
        *("AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"),
        *("HeaderDigest", "DataDigest", "MaxConnections", "SendTargets", "TargetName", "InitiatorName"),
        *("TargetAlias", "InitiatorAlias", "TargetAddress", "TargetPortalGroupTag", "InitialR2T"),
        *("ImmediateData", "MaxRecvDataSegmentLength", "MaxBurstLength", "FirstBurstLength"),
        *("DefaultTime2Wait", "DefaultTime2Retain", "MaxOutstandingR2T", "DataPDUInOrder"),
        *("DataSequenceInOrder", "ErrorRecoveryLevel", "SessionType", "TaskReporting"),
        *("iSCSIProtocolLevel", "IFMarker", "OFMarker", "IFMarkInt", "OFMarkInt", "X#NodeArchitecture"),
    }


def test_the_defaults_are_those_of_the_rfc() -> None:
    """RFC 7143 §13: what holds when nobody says anything."""
    assert DEFAULTS == {
        "SessionType": "Normal",
        "HeaderDigest": "None",
        "DataDigest": "None",
        "MaxRecvDataSegmentLength": 8192,
        "MaxConnections": 1,
        "InitialR2T": True,
        "ImmediateData": True,
        "MaxBurstLength": 262144,
        "FirstBurstLength": 65536,
        "DefaultTime2Wait": 2,
        "DefaultTime2Retain": 20,
        "MaxOutstandingR2T": 1,
        "DataPDUInOrder": True,
        "DataSequenceInOrder": True,
        "ErrorRecoveryLevel": 0,
        "TaskReporting": "RFC3720",
        "iSCSIProtocolLevel": 1,
    }


@pytest.mark.parametrize("key", NUMBERS)
@given(st.integers(0, 2**64 - 1), st.booleans())
def test_a_number_in_any_size_and_notation_comes_within_the_bounds_of_its_row(
    key: str, offer: int, in_hex: bool
) -> None:
    """RFC 7143 §13: never more than the row allows, never more than we want, and the answer is the value."""
    row = KEYS[key]
    assert isinstance(row.type, Number)
    text = hex(offer) if in_hex else str(offer)
    if offer < row.type.low:
        with pytest.raises(PduRejected):
            negotiate(key, text)
        return

    answer, value = negotiate(key, text)

    assert answer == str(value) and isinstance(value, int)
    assert row.type.low <= value <= row.type.high
    if row.combine is Combine.MIN:
        assert value == min(offer, int(OURS[key]))
    else:
        assert value == min(max(offer, int(OURS[key])), row.type.high)


@pytest.mark.parametrize(
    ("key", "text", "answer"),
    [
        ("MaxConnections", "65536", "1"),
        ("MaxConnections", "4", "1"),
        ("ErrorRecoveryLevel", "2", "0"),
        ("MaxOutstandingR2T", "8", "1"),
        ("DefaultTime2Wait", "3601", "3600"),
        ("DefaultTime2Wait", "2", "2"),
        ("DefaultTime2Retain", "3600", "0"),
        ("MaxBurstLength", "512", "512"),
        ("MaxBurstLength", "16777215", "16776192"),
        ("MaxBurstLength", "0x1000", "4096"),
        ("FirstBurstLength", "0X00ff00", "65280"),
        ("iSCSIProtocolLevel", "2", "1"),
    ],
)
def test_numbers_are_answered_with_what_holds(key: str, text: str, answer: str) -> None:
    """RFC 7143 §6.2.2, §13: a legal value exists, so Reject is never said."""
    assert negotiate(key, text) == (answer, int(answer))


@pytest.mark.parametrize("key", BOOLEANS)
@pytest.mark.parametrize("offer", ["Yes", "No"])
def test_a_boolean_combines_as_its_row_says(key: str, offer: str) -> None:
    """RFC 7143 §6.2.2: AND, OR."""
    ours, theirs = bool(OURS[key]), offer == "Yes"
    agreed = (ours and theirs) if KEYS[key].combine is Combine.AND else (ours or theirs)

    assert negotiate(key, offer) == ("Yes" if agreed else "No", agreed)


def test_both_ways_of_sending_data_early_are_the_initiators_choice() -> None:
    """RFC 7143 §13.10, §13.11: we want both, so its word decides; order is never given up."""
    for offer in ("Yes", "No"):
        assert negotiate("InitialR2T", offer)[0] == offer
        assert negotiate("ImmediateData", offer)[0] == offer
        assert negotiate("DataPDUInOrder", offer)[0] == negotiate("DataSequenceInOrder", offer)[0] == "Yes"


@pytest.mark.parametrize(
    ("offer", "chosen"),
    [
        ("None", "None"),
        ("CRC32C", "CRC32C"),
        ("None,CRC32C", "None"),
        ("CRC32C,None", "CRC32C"),
        ("X-md5,CRC32C,None", "CRC32C"),
    ],
)
def test_of_a_list_the_first_we_support_is_taken(offer: str, chosen: str) -> None:
    """RFC 7143 §6.2.1: the initiator's order is its preference."""
    assert negotiate("HeaderDigest", offer) == negotiate("DataDigest", offer) == (chosen, chosen)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("HeaderDigest", "X-md5"),
        ("HeaderDigest", ""),
        ("HeaderDigest", "none"),
        ("InitialR2T", "yes"),
        ("InitialR2T", "1"),
        ("MaxBurstLength", "511"),
        ("MaxBurstLength", ""),
        ("MaxBurstLength", "-1"),
        ("MaxBurstLength", "+4096"),
        ("MaxBurstLength", "4096 "),
        ("MaxBurstLength", "4_096"),
        ("MaxBurstLength", "٤٠٩٦"),
        ("MaxBurstLength", "0x"),
        ("MaxBurstLength", "9" * 21),
        ("MaxBurstLength", "Irrelevant"),
        ("MaxConnections", "0"),
        ("MaxRecvDataSegmentLength", "0"),
        ("MaxRecvDataSegmentLength", "511"),
        ("TaskReporting", "FastAbort"),
    ],
)
def test_an_offer_without_a_legal_meaning_is_refused(key: str, text: str) -> None:
    """RFC 7143 §7 (negotiation failures): nothing both sides could accept."""
    with pytest.raises(PduRejected):
        negotiate(key, text)


@pytest.mark.parametrize(
    ("text", "value"), [("512", 512), ("8192", 8192), ("16777215", 2**24 - 1), ("16777216", 2**24 - 1)]
)
def test_a_declared_segment_length_gets_no_answer(text: str, value: int) -> None:
    """RFC 7143 §13.12: declared, not negotiated; more than a PDU can hold is as much as it can hold."""
    assert negotiate("MaxRecvDataSegmentLength", text) == (None, value)


def test_an_unknown_key_is_not_understood_and_an_answer_is_not_answered() -> None:
    """RFC 7143 §6.2."""
    assert negotiate("X-com.example.colour", "red") == ("NotUnderstood", None)
    for answer in ("NotUnderstood", "Irrelevant", "Reject"):
        assert negotiate("X-com.example.colour", answer) == (None, None)


@pytest.mark.parametrize(
    ("key", "answer"),
    [("IFMarker", "No"), ("OFMarker", "No"), ("IFMarkInt", "Reject"), ("OFMarkInt", "Reject")],
)
@pytest.mark.parametrize("offer", ["No", "Yes", "2048~65535"])
def test_markers_are_obsolete_but_understood(key: str, answer: str, offer: str) -> None:
    """RFC 7143 §13.25: NotUnderstood is forbidden for these, No allowed for the first two."""
    assert negotiate(key, offer)[0] == answer


@pytest.mark.parametrize("key", sorted(k for k, row in KEYS.items() if row.sender is Sender.TARGET))
def test_what_only_targets_say_is_refused_from_an_initiator(key: str) -> None:
    """RFC 7143 §13: the Senders line."""
    with pytest.raises(PduRejected):
        negotiate(key, "1")


def test_what_we_want_follows_the_limits() -> None:
    """And a first burst never exceeds a burst."""
    ours = wanted(attrs.evolve(DEFAULT, first_burst=65536, max_burst=8192))

    assert (ours["MaxBurstLength"], ours["FirstBurstLength"]) == (8192, 8192)


@given(st.sampled_from(sorted(KEYS)), st.text(max_size=30))
def test_any_value_of_any_key_is_answered_or_refused(key: str, text: str) -> None:
    """Nothing but a PeerError leaves the table, and only obsolete keys are ever answered with Reject."""
    try:
        answer, _ = negotiate(key, text)
    except PduRejected as refused:
        assert refused.why.isascii() and refused.why.isprintable()
    else:
        assert answer != "Reject" or KEYS[key].combine is Combine.OBSOLETE


def test_the_security_keys_are_those_of_chapter_12() -> None:
    """They go to CHAP, not to the negotiation."""
    assert {"AuthMethod", "CHAP_A", "CHAP_I", "CHAP_C", "CHAP_N", "CHAP_R"} == SECURITY_KEYS
