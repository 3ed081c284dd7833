"""Framing: where PDUs end, whatever a stranger claims and however the bytes arrive."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fuzz.strategies import initiator_pdus
from scsipub.errors import FramingLost
from scsipub.iscsi.digest import crc32c
from scsipub.iscsi.framing import BHS, measure_untrusted, split_untrusted
from scsipub.iscsi.pdu import Pdu, padding, wire

MAX = 64


def with_digests(pdu: Pdu, header: bool, data: bool) -> bytes:
    """A PDU as it travels."""
    head = pdu.pack() + pdu.ahs
    body = pdu.data + padding(len(pdu.data))
    return b"".join(
        (
            head, crc32c(head).to_bytes(4, "little") if header else b"",
            body, crc32c(body).to_bytes(4, "little") if data and body else b"",
        )
    )  # fmt: skip


@given(st.lists(initiator_pdus(), max_size=4), st.booleans(), st.booleans(), st.data())
def test_where_the_network_cuts_the_stream_does_not_matter(pdus, header, data, draw):
    """Any cut gives the same frames, and says how many bytes were whole."""
    each = [with_digests(pdu, header, data) for pdu in pdus]
    stream = b"".join(each)
    cut = draw.draw(st.integers(0, len(stream)))

    frames, used = split_untrusted(
        memoryview(stream)[:cut], max_data=MAX, header_digest=header, data_digest=data
    )
    rest, end = split_untrusted(
        memoryview(stream)[used:], max_data=MAX, header_digest=header, data_digest=data
    )

    assert [bytes(f) for f in (*frames, *rest)] == each
    assert used + end == len(stream)


@given(st.binary(max_size=400), st.booleans(), st.booleans())
def test_noise_is_split_or_refused_and_nothing_else(noise, header, data):
    """No other exception, and no frame beyond the bytes there are."""
    try:
        frames, used = split_untrusted(
            memoryview(noise), max_data=MAX, header_digest=header, data_digest=data
        )
    except FramingLost:
        return
    assert sum(map(len, frames)) == used <= len(noise)


def test_a_data_segment_may_be_as_long_as_declared_and_not_a_byte_longer():
    """MaxRecvDataSegmentLength is what we promised to hold."""
    header = bytearray(BHS)

    header[5:8] = MAX.to_bytes(3)
    assert measure(header) == BHS + MAX
    header[5:8] = (MAX + 1).to_bytes(3)
    with pytest.raises(FramingLost):
        measure(header)


def test_sixteen_mebibytes_are_refused_when_the_header_is_there():
    """FFFFFFh; not one byte of it is waited for."""
    header = bytearray(BHS)
    header[5:8] = b"\xff\xff\xff"

    assert measure(header[:47]) == 0
    with pytest.raises(FramingLost):
        measure(header)


@pytest.mark.parametrize("words", [0, 1, 255])
def test_additional_headers_count(words):
    """RFC 7143 §11.2.1.5: TotalAHSLength is in words of four bytes."""
    header = bytearray(BHS)
    header[4] = words

    assert measure(header) == BHS + 4 * words


@pytest.mark.parametrize(("length", "padded"), [(0, 0), (1, 4), (3, 4), (4, 4), (5, 8), (64, 64)])
def test_segments_are_padded_to_four_bytes(length, padded):
    """§11.1: what the padding holds is no data."""
    header = bytearray(BHS)
    header[7] = length

    assert measure(header) == BHS + padded
    assert measure(header, data_digest=True) == BHS + padded + (4 if length else 0)


def test_a_pdu_that_is_not_whole_says_how_long_it_will_be():
    header = bytearray(BHS)
    header[4], header[7] = 2, 33

    assert measure(header) == BHS + 8 + 36


@given(initiator_pdus(), st.data())
def test_a_flipped_bit_in_a_header_is_noticed(pdu, draw):
    """§13.1: whichever it is; CRC32C finds every single one."""
    wrong = bytearray(with_digests(pdu, True, False) + bytes(2048))
    bit = draw.draw(st.integers(0, (BHS + len(pdu.ahs) + 4) * 8 - 1))
    wrong[bit // 8] ^= 1 << bit % 8

    with pytest.raises(FramingLost):
        measure(wrong, header_digest=True, max_data=2**24)


@given(initiator_pdus())
def test_a_header_without_its_digest_is_not_whole(pdu):
    whole = with_digests(pdu, True, False)

    for end in (BHS - 1, BHS + len(pdu.ahs) + 3):
        assert measure(whole[:end], header_digest=True) == 0
    assert measure(whole, header_digest=True) == len(wire(pdu)) + 4


def test_http_does_not_look_like_iscsi_for_long():
    """Read as a header it claims a data segment of three megabytes."""
    with pytest.raises(FramingLost):
        measure(b"GET / HTTP/1.1\r\nHost: example.com\r\nAccept: */*\r\n\r\n", max_data=256 * 1024)


def measure(
    data: bytes, *, header_digest: bool = False, data_digest: bool = False, max_data: int = MAX
) -> int:
    return measure_untrusted(
        memoryview(bytes(data)), 0, len(data),
        header_digest=header_digest, data_digest=data_digest, max_data=max_data,
    )  # fmt: skip
