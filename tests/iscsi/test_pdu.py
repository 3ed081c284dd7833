"""PDUs lie in their 48 bytes as RFC 7143 §11 draws them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.strategies import initiator_pdus, target_pdus
from scsipub.errors import FramingLost, PduRejected, PeerError
from scsipub.iscsi.constants import Opcode, RejectReason
from scsipub.iscsi.pdu import (
    INITIATOR_PDUS,
    TARGET_PDUS,
    AsyncMessage,
    DataIn,
    DataOut,
    LoginRequest,
    LoginResponse,
    LogoutRequest,
    LogoutResponse,
    NopIn,
    NopOut,
    Pdu,
    ReadyToTransfer,
    Reject,
    ScsiCommand,
    ScsiResponse,
    SnackRequest,
    TaskManagementRequest,
    TaskManagementResponse,
    TextRequest,
    TextResponse,
    additional_headers_untrusted,
    extended_cdb,
    padding,
    parse_untrusted,
    places,
    wire,
)

LUN = 0x0102030405060708

# One row per PDU: the header as it is drawn in the RFC, written out by hand.
DRAWN: list[tuple[Pdu, str]] = [
    (
        NopOut(immediate=True, lun=LUN, initiator_task_tag=1, target_transfer_tag=2, cmd_sn=3, exp_stat_sn=4),
        "40800000 00000000 01020304 05060708 00000001 00000002 00000003 00000004"
        "00000000 00000000 00000000 00000000",
    ),
    (
        ScsiCommand(
            read=True,
            write=True,
            attribute=3,
            lun=LUN,
            initiator_task_tag=1,
            expected_data_transfer_length=2,
            cmd_sn=3,
            exp_stat_sn=4,
            cdb=bytes(range(16)),
            data=b"12345",
        ),
        "01e30000 00000005 01020304 05060708 00000001 00000002 00000003 00000004"
        "00010203 04050607 08090a0b 0c0d0e0f",
    ),
    (
        TaskManagementRequest(
            function=5,
            lun=LUN,
            initiator_task_tag=1,
            referenced_task_tag=2,
            cmd_sn=3,
            exp_stat_sn=4,
            ref_cmd_sn=5,
            exp_data_sn=6,
        ),
        "02850000 00000000 01020304 05060708 00000001 00000002 00000003 00000004"
        "00000005 00000006 00000000 00000000",
    ),
    (
        LoginRequest(
            immediate=True,
            transit=True,
            current_stage=1,
            next_stage=3,
            version_max=1,
            version_min=2,
            isid=b"\x80abcde",
            tsih=0x0A0B,
            initiator_task_tag=1,
            cid=2,
            cmd_sn=3,
            exp_stat_sn=4,
        ),
        "43870102 00000000 80616263 64650a0b 00000001 00020000 00000003 00000004"
        "00000000 00000000 00000000 00000000",
    ),
    (
        TextRequest(continued=True, final=False, initiator_task_tag=1, cmd_sn=3, exp_stat_sn=4),
        "04400000 00000000 00000000 00000000 00000001 ffffffff 00000003 00000004"
        "00000000 00000000 00000000 00000000",
    ),
    (
        DataOut(
            final=True,
            lun=LUN,
            initiator_task_tag=1,
            target_transfer_tag=2,
            exp_stat_sn=4,
            data_sn=5,
            buffer_offset=6,
        ),
        "05800000 00000000 01020304 05060708 00000001 00000002 00000000 00000004"
        "00000000 00000005 00000006 00000000",
    ),
    (
        LogoutRequest(reason=1, initiator_task_tag=1, cid=2, cmd_sn=3, exp_stat_sn=4),
        "06810000 00000000 00000000 00000000 00000001 00020000 00000003 00000004"
        "00000000 00000000 00000000 00000000",
    ),
    (
        SnackRequest(
            type=3,
            lun=LUN,
            initiator_task_tag=1,
            target_transfer_tag=2,
            exp_stat_sn=4,
            beg_run=5,
            run_length=6,
        ),
        "10830000 00000000 01020304 05060708 00000001 00000002 00000000 00000004"
        "00000000 00000000 00000005 00000006",
    ),
    (
        NopIn(lun=LUN, initiator_task_tag=1, target_transfer_tag=2, stat_sn=3, exp_cmd_sn=4, max_cmd_sn=5),
        "20800000 00000000 01020304 05060708 00000001 00000002 00000003 00000004"
        "00000005 00000000 00000000 00000000",
    ),
    (
        ScsiResponse(
            bidi_overflow=True,
            underflow=True,
            response=1,
            status=2,
            initiator_task_tag=1,
            snack_tag=2,
            stat_sn=3,
            exp_cmd_sn=4,
            max_cmd_sn=5,
            exp_data_sn=6,
            bidi_residual_count=7,
            residual_count=8,
        ),
        "21920102 00000000 00000000 00000000 00000001 00000002 00000003 00000004"
        "00000005 00000006 00000007 00000008",
    ),
    (
        TaskManagementResponse(response=5, initiator_task_tag=1, stat_sn=3, exp_cmd_sn=4, max_cmd_sn=5),
        "22800500 00000000 00000000 00000000 00000001 00000000 00000003 00000004"
        "00000005 00000000 00000000 00000000",
    ),
    (
        LoginResponse(
            transit=True,
            current_stage=1,
            next_stage=3,
            isid=b"\x80abcde",
            tsih=9,
            initiator_task_tag=1,
            stat_sn=3,
            exp_cmd_sn=4,
            max_cmd_sn=5,
            status=0x0203,
        ),
        "23870000 00000000 80616263 64650009 00000001 00000000 00000003 00000004"
        "00000005 02030000 00000000 00000000",
    ),
    (
        TextResponse(initiator_task_tag=1, target_transfer_tag=2, stat_sn=3, exp_cmd_sn=4, max_cmd_sn=5),
        "24800000 00000000 00000000 00000000 00000001 00000002 00000003 00000004"
        "00000005 00000000 00000000 00000000",
    ),
    (
        DataIn(
            final=True,
            underflow=True,
            has_status=True,
            status=8,
            lun=LUN,
            initiator_task_tag=1,
            target_transfer_tag=2,
            stat_sn=3,
            exp_cmd_sn=4,
            max_cmd_sn=5,
            data_sn=6,
            buffer_offset=7,
            residual_count=8,
        ),
        "25830008 00000000 01020304 05060708 00000001 00000002 00000003 00000004"
        "00000005 00000006 00000007 00000008",
    ),
    (
        LogoutResponse(
            response=2,
            initiator_task_tag=1,
            stat_sn=3,
            exp_cmd_sn=4,
            max_cmd_sn=5,
            time2wait=6,
            time2retain=7,
        ),
        "26800200 00000000 00000000 00000000 00000001 00000000 00000003 00000004"
        "00000005 00000000 00060007 00000000",
    ),
    (
        ReadyToTransfer(
            lun=LUN,
            initiator_task_tag=1,
            target_transfer_tag=2,
            stat_sn=3,
            exp_cmd_sn=4,
            max_cmd_sn=5,
            r2t_sn=6,
            buffer_offset=7,
            desired_data_transfer_length=8,
        ),
        "31800000 00000000 01020304 05060708 00000001 00000002 00000003 00000004"
        "00000005 00000006 00000007 00000008",
    ),
    (
        AsyncMessage(
            lun=LUN,
            stat_sn=3,
            exp_cmd_sn=4,
            max_cmd_sn=5,
            async_event=1,
            async_vcode=2,
            parameter1=3,
            parameter2=4,
            parameter3=5,
        ),
        "32800000 00000000 01020304 05060708 ffffffff 00000000 00000003 00000004"
        "00000005 01020003 00040005 00000000",
    ),
    (
        Reject(reason=9, stat_sn=3, exp_cmd_sn=4, max_cmd_sn=5, data_sn=6),
        "3f800900 00000000 00000000 00000000 ffffffff 00000000 00000003 00000004"
        "00000005 00000006 00000000 00000000",
    ),
]


@pytest.mark.parametrize(("pdu", "drawn"), DRAWN, ids=lambda value: type(value).__name__)
def test_every_header_is_laid_out_as_it_is_drawn(pdu: Pdu, drawn: str) -> None:
    """RFC 7143 §11.3-§11.19: each field at its place, reserved bytes zero."""
    assert pdu.pack().hex() == bytes.fromhex(drawn).hex()


def test_every_opcode_has_a_drawing() -> None:
    """The table above forgets no PDU."""
    assert {pdu.OPCODE for pdu, _ in DRAWN} == set(Opcode) == set(INITIATOR_PDUS) | set(TARGET_PDUS)


def test_no_two_fields_of_a_pdu_share_a_bit() -> None:
    """A field list that overlaps itself would lose what it was given."""
    for cls in (*INITIATOR_PDUS.values(), *TARGET_PDUS.values()):
        taken = 0
        for name, place in places(cls):
            mask = (place.mask or (1 << 8 * place.length) - 1) << 8 * (48 - place.offset - place.length)
            assert not taken & mask, f"{cls.__name__}.{name}"
            taken |= mask


@given(st.one_of(initiator_pdus(), target_pdus()))
@settings(max_examples=200)
def test_what_is_packed_is_what_is_read(pdu: Pdu) -> None:
    """RFC 7143 §11.2: the header loses nothing, for any value of any field."""
    from_initiator = pdu.OPCODE in INITIATOR_PDUS

    assert parse_untrusted(pdu.pack(), pdu.ahs, pdu.data, from_initiator=from_initiator) == pdu


@given(st.binary(max_size=60), st.binary(max_size=20), st.binary(max_size=20), st.booleans())
@settings(max_examples=200)
def test_noise_is_a_pdu_or_a_refusal_and_nothing_else(
    bhs: bytes, ahs: bytes, data: bytes, from_initiator: bool
) -> None:
    """Whatever 48 bytes arrive, no other exception leaves the codec."""
    try:
        pdu = parse_untrusted(bhs, ahs, data, from_initiator=from_initiator)
        if isinstance(pdu, ScsiCommand):
            pdu.full_cdb_untrusted()
    except PeerError:
        pass


@given(st.sampled_from(sorted(INITIATOR_PDUS)), st.binary(min_size=47, max_size=47))
@settings(max_examples=200)
def test_reserved_bits_are_ignored_when_read(opcode: int, rest: bytes) -> None:
    """RFC 7143 §11.2.1: a receiver ignores them, so the same fields always give the same PDU."""
    once = parse_untrusted(bytes((opcode,)) + rest)

    assert parse_untrusted(once.pack()) == once


@pytest.mark.parametrize("opcode", [0x07, 0x1C, 0x1D, 0x1E, 0x1F, *range(0x20, 0x40)])
def test_an_opcode_no_initiator_may_send_is_rejected_as_not_supported(opcode: int) -> None:
    """RFC 7143 §11.17.1: reason 05h, for vendor opcodes, undefined ones and the target's own."""
    with pytest.raises(PduRejected) as refused:
        parse_untrusted(bytes((opcode,)) + bytes(47))

    assert refused.value.reason == RejectReason.COMMAND_NOT_SUPPORTED


def test_a_class_does_not_read_the_header_of_another() -> None:
    """The opcode is checked even when the caller thinks to know the kind."""
    with pytest.raises(PduRejected):
        NopOut.unpack_untrusted(ScsiCommand().pack())


@pytest.mark.parametrize("length", [0, 1, 47, 49])
def test_a_header_that_is_not_48_bytes_is_no_header(length: int) -> None:
    """RFC 7143 §11.2.1: the BHS is 48 bytes, always."""
    with pytest.raises(FramingLost):
        parse_untrusted(bytes(length))
    with pytest.raises(FramingLost):
        NopOut.unpack_untrusted(bytes(length))


def test_a_pdu_on_the_wire_is_padded_to_four_bytes_and_counts_only_its_data() -> None:
    """RFC 7143 §11.1, §11.2.1.6: pad bytes are zero and not in DataSegmentLength."""
    sent = wire(NopOut(data=b"abcde", ahs=b"wxyz"))

    assert sent[4:8] == b"\x01\x00\x00\x05"
    assert sent[48:] == b"wxyzabcde\x00\x00\x00"


@pytest.mark.parametrize(("length", "pad"), [(0, 0), (1, 3), (2, 2), (3, 1), (4, 0)])
def test_padding_fills_to_the_next_multiple_of_four(length: int, pad: int) -> None:
    """RFC 7143 §11.1."""
    assert padding(length) == bytes(pad)


@pytest.mark.parametrize(
    "pdu",
    [
        NopOut(cmd_sn=2**32),
        NopOut(cmd_sn=-1),
        TaskManagementRequest(function=128),
        ScsiCommand(cdb=bytes(15)),
        NopOut(ahs=b"abc"),
        NopOut(ahs=bytes(1024)),
        NopOut(data=bytes(2**24)),
    ],
)
def test_what_does_not_fit_is_our_own_mistake_and_never_sent(pdu: Pdu) -> None:
    """A value too large would spill into the neighbouring field."""
    with pytest.raises(ValueError):
        pdu.pack()


@pytest.mark.parametrize("length", [16, 17, 19, 20, 32, 260])
def test_a_long_cdb_travels_in_an_additional_header(length: int) -> None:
    """RFC 7143 §11.2.2.3: AHSLength is the CDB's length less 15."""
    cdb = bytes(range(1, 251)) + bytes(range(10))
    head, ahs = extended_cdb(cdb[:length])

    command = ScsiCommand(cdb=head, ahs=ahs)

    assert len(ahs) % 4 == 0
    assert (int.from_bytes(ahs[:2], "big") if ahs else 1) == length - 15
    assert command.full_cdb_untrusted() == cdb[:length]


def test_other_additional_headers_do_not_disturb_the_cdb() -> None:
    """RFC 7143 §11.2.2.4: the bidirectional read length may stand before or after the extended CDB."""
    bidirectional = bytes.fromhex("0005 02 00 00001000")
    head, ahs = extended_cdb(bytes(range(20)))

    for order in (bidirectional + ahs, ahs + bidirectional):
        assert ScsiCommand(cdb=head, ahs=order).full_cdb_untrusted() == bytes(range(20))
    assert list(additional_headers_untrusted(bidirectional)) == [(2, bytes.fromhex("00001000"))]


@pytest.mark.parametrize("ahs", ["0000 01 00", "0006 01 00 11223344", "ffff 01 00", "0001 01"])
def test_an_additional_header_that_overruns_its_room_is_rejected(ahs: str) -> None:
    """RFC 7143 §11.2.2: AHSLength may not pass the end that TotalAHSLength set."""
    with pytest.raises(PduRejected):
        ScsiCommand(ahs=bytes.fromhex(ahs)).full_cdb_untrusted()


def test_a_second_extended_cdb_is_rejected() -> None:
    """Which of two would be the command?"""
    _, ahs = extended_cdb(bytes(20))

    with pytest.raises(PduRejected):
        ScsiCommand(ahs=ahs + ahs).full_cdb_untrusted()
