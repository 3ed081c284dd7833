"""Write data that is not as long as the CDB says: what changes on the medium, and what the residual says."""

import pytest

from tests.support.talk import command, data_out, full_feature, good, pattern, r2t, write


def asks(tag, cdb, data, expected):
    return command(tag, bytes.fromhex(cdb).ljust(16, b"\0"), write=True, data=data,
                   expected_data_transfer_length=expected)  # fmt: skip


@pytest.mark.parametrize("settled", [True, False])
@pytest.mark.parametrize("length", [1, 200, 511, 512, 700])
def test_a_write_changes_no_more_than_the_initiator_has_for_it(length, settled):
    """RFC 7143 §11.4.5.1: O, and the count is what the CDB wanted beyond it."""
    talk = full_feature()
    talk.disk.settled = settled
    talk.disk.content[:2048] = b"o" * 2048

    talk.initiator(write(1, blocks=2, data=pattern(length), expected_data_transfer_length=length))

    talk.target(good(1, overflow=True, residual_count=1024 - length))
    assert bytes(talk.disk.content[:2048]) == pattern(length) + b"o" * (2048 - length)


def test_a_short_end_may_come_in_a_burst_of_its_own():
    talk = full_feature(ImmediateData="No", InitialR2T="Yes", block_size=4096)
    talk.disk.content[:8192] = b"o" * 8192

    talk.initiator(write(1, blocks=2, block_size=4096, expected_data_transfer_length=4608))
    talk.target(r2t(1, 0, 4608))
    talk.initiator(data_out(1, 0, pattern(4608), ttt=talk.tags[-1]))

    talk.target(good(1, overflow=True, residual_count=8192 - 4608))
    assert bytes(talk.disk.content[:8192]) == pattern(4608) + b"o" * (8192 - 4608)


def test_a_short_end_with_fua_is_flushed():
    talk = full_feature()

    talk.initiator(asks(1, "2a 08 00000000 00 0001", pattern(200), 200))

    talk.target(good(1, overflow=True, residual_count=312))
    assert ("flush", 0, 0) in talk.disk.calls


def test_bytes_beyond_what_the_cdb_wants_are_left_alone():
    talk = full_feature()

    talk.initiator(write(1, data=pattern(1024), expected_data_transfer_length=1024))

    talk.target(good(1, underflow=True, residual_count=512))
    assert bytes(talk.disk.content[:1024]) == pattern(512) + bytes(512)


@pytest.mark.parametrize(
    "cdb",
    [
        pytest.param("2e 00 00000000 00 0001", id="WRITE AND VERIFY(10)"),
        pytest.param("8b 00 0000000000000000 00000001", id="ORWRITE(16)"),
        pytest.param("2f 02 00000000 00 0001", id="VERIFY(10)"),
    ],
)
def test_part_of_a_block_is_refused_where_it_would_have_to_be_compared_or_combined(cdb):
    talk = full_feature()
    talk.disk.content[:512] = b"o" * 512

    talk.initiator(asks(1, cdb, b"\xff" * 200, 200))

    (answer,) = talk.heard
    assert (answer.status, answer.overflow, answer.residual_count) == (0x02, True, 312)
    assert bytes(talk.disk.content[:512]) == b"o" * 512
