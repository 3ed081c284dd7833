"""scsipub/bench/verify.py"""

import pytest

from scsipub.bench.verify import Mismatch, Verifier
from scsipub.bench.wire import TargetError, Url
from tests.support.tiny_target import tiny_target


def verifier(target, **how):
    return Verifier(Url.parse(target.url), "iqn.test:witness", **({"blocks": 16} | how))


def test_a_sound_disk_passes():
    with tiny_target() as target:
        witness = verifier(target, zeros=True)
        witness.run(0.2)

        assert witness.operations > 0
        assert witness.acknowledged


@pytest.mark.parametrize("size", [512, 65536])
def test_blocks_of_other_sizes_pass(size):
    with tiny_target() as target:
        verifier(target, block_size=size).run(0.1)


def test_a_write_that_was_acknowledged_and_not_done_is_found():
    with tiny_target(forgets=True) as target, pytest.raises(Mismatch, match="may hold generation"):
        verifier(target).run(5)


def test_a_disk_that_should_begin_with_zeros_and_does_not_is_found():
    with tiny_target() as target, pytest.raises(Mismatch, match="generation"):
        target.disk[:] = b"x" * len(target.disk)
        verifier(target, zeros=True).run(5)


def test_what_was_there_before_is_not_looked_at_otherwise():
    with tiny_target() as target:
        target.disk[:] = b"x" * len(target.disk)
        verifier(target).run(0.1)


def test_a_lost_connection_is_an_error_unless_it_may_come_back():
    with tiny_target(hangs_up_after=30) as target, pytest.raises(ConnectionError):
        verifier(target).run(5)


def test_it_comes_back_and_finds_what_was_acknowledged():
    with tiny_target(hangs_up_after=30) as target:
        witness = verifier(target)
        witness.run(0.2, reconnect_seconds=5)

        assert len(witness.reconnects) == 1


def test_it_comes_back_and_sees_that_the_disk_is_another_one():
    with tiny_target(hangs_up_after=60, wipes=True) as target, pytest.raises(Mismatch):
        verifier(target).run(5, reconnect_seconds=5)


def test_a_torn_write_that_nobody_acknowledged_is_no_error():
    with tiny_target() as target:
        witness = verifier(target)
        witness.acknowledged[3], witness.perhaps[3] = 1, {2}
        old, new = witness.pattern(3, 1), witness.pattern(3, 2)

        witness._check(3, new[:512] + old[512:])
        with pytest.raises(Mismatch):
            witness._check(3, new[:512] + witness.pattern(3, 9)[512:])


def test_an_error_status_is_an_error():
    with tiny_target(status=0x02) as target, pytest.raises(TargetError, match="status 02h"):
        verifier(target).run(5)
