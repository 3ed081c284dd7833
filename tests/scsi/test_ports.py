"""Initiator ports and their TransportIDs."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scsipub.errors import CheckCondition
from scsipub.scsi.ports import InitiatorPort, transport_id_untrusted

NAME = "iqn.2025-01.test:one"
ISID = bytes.fromhex("00023d000001")
BY_NAME, BY_PORT = (
    InitiatorPort("iqn.2025-01.test:asker"),
    InitiatorPort("iqn.2025-01.test:asker", bytes(6), "alice"),
)


def test_a_name_alone_is_format_00b():
    """SPC-4 §7.6.4.6: protocol 5, NUL-terminated, padded to a multiple of four."""
    data = InitiatorPort(NAME).transport_id
    assert data[:4] == bytes([0x05, 0, 0, 24])
    assert data[4:] == NAME.encode() + bytes(4)


def test_a_name_with_an_isid_is_format_01b():
    data = InitiatorPort(NAME, ISID).transport_id
    assert data[0] == 0x45
    assert data[4:].rstrip(b"\0") == NAME.encode() + b",i,0x00023d000001"


def test_a_short_name_is_padded_to_the_least_length():
    assert len(InitiatorPort("iqn.a").transport_id) == 24


@given(st.text("abcz019.:-", max_size=200), st.binary(min_size=6, max_size=6))
def test_what_is_packed_is_read_back(rest, isid):
    named, port = InitiatorPort("iqn." + rest), InitiatorPort("iqn." + rest, isid, "alice")
    assert transport_id_untrusted(named.transport_id, 0, BY_NAME) == named
    assert transport_id_untrusted(bytes(24) + port.transport_id, 24, BY_PORT) == port


def test_the_isid_counts_only_where_ports_are_told_apart_by_it():
    """The principal is that of the asker: nobody registers for somebody else's tenant."""
    found = transport_id_untrusted(InitiatorPort(NAME, ISID).transport_id, 0, BY_NAME)
    assert found == InitiatorPort(NAME)
    with pytest.raises(CheckCondition):
        transport_id_untrusted(InitiatorPort(NAME).transport_id, 0, BY_PORT)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d[:23],
        lambda d: d + bytes(4),
        lambda d: b"\x06" + d[1:],  # another protocol
        lambda d: b"\x85" + d[1:],  # format 10b
        lambda d: d[:2] + b"\xff\xff" + d[4:],
        lambda d: d[:4] + b"xqn." + d[8:],
        lambda d: d[:4] + b"\xff" + d[5:],
        lambda d: d[:-1] + b"x",  # something after the NUL
        lambda d: d[:4] + b"iqn." + b"x" * 300 + bytes(4),
    ],
)
def test_a_transport_id_that_is_not_right_is_refused(change):
    with pytest.raises(CheckCondition) as refused:
        transport_id_untrusted(change(InitiatorPort(NAME).transport_id), 0, BY_NAME)
    assert (refused.value.asc, refused.value.in_cdb) == (0x26, False)


@pytest.mark.parametrize("isid", ["00023d00000", "00023d0000011", "00023d00000g"])
def test_an_isid_that_is_not_right_is_refused(isid):
    raw = f"{NAME},i,0x{isid}".encode() + b"\0"
    raw += bytes(-len(raw) % 4)
    with pytest.raises(CheckCondition):
        transport_id_untrusted(bytes([0x45, 0]) + len(raw).to_bytes(2, "big") + raw, 0, BY_NAME)


@given(st.binary(max_size=120))
def test_noise_is_a_port_or_a_check_condition(noise):
    with contextlib.suppress(CheckCondition):
        transport_id_untrusted(b"\x05\0" + noise, 0, BY_NAME)
