"""tests/support/initiator.py, so that a test that fails can be believed."""

import struct

import pytest

from tests.support.initiator import Initiator, LoginFailed
from tests.support.tiny_target import tiny_target


@pytest.mark.parametrize("initial_r2t", ["Yes", "No"])
@pytest.mark.parametrize("immediate", ["Yes", "No"])
def test_what_is_written_is_read_back(initial_r2t, immediate):
    with tiny_target() as target, Initiator(target.address) as who:
        target.keys |= {"InitialR2T": initial_r2t, "ImmediateData": immediate}
        who.login("iqn.test:tiny").settle()
        data = bytes(range(256)) * 200

        who.write(7, data)

        assert who.read(7, 100) == data
        assert who.capacity() == (4096, 512)
        assert who.logout() == 0
        assert who.closed_by_target()


def test_a_refused_login_is_raised_with_its_status():
    with tiny_target(login_status=0x0203) as target, Initiator(target.address) as who:
        with pytest.raises(LoginFailed) as refused:
            who.login("iqn.test:tiny")
        assert refused.value.status == 0x0203


def test_commands_end_in_any_order():
    with tiny_target() as target, Initiator(target.address) as who:
        who.login("iqn.test:tiny")
        cdb = struct.pack(">BBQIBB", 0x88, 0, 0, 8, 0, 0)
        first, second = who.start(cdb, read=4096), who.start(cdb, read=4096)

        assert len(who.finish(second).good().data) == 4096
        assert len(who.finish(first).good().data) == 4096


def test_pings_on_the_way_are_answered_and_kept():
    with tiny_target(pings=True) as target, Initiator(target.address) as who:
        who.login("iqn.test:tiny")
        who.read(0, 1)

        assert who.ping(b"hello").data == b"hello"
        assert target.pongs == 1
        assert len(who.unasked) == 1


def test_a_bad_end_names_the_status():
    with tiny_target(status=0x18) as target, Initiator(target.address) as who:
        who.login("iqn.test:tiny")
        with pytest.raises(AssertionError, match="status 18h"):
            who.read(0, 1)
