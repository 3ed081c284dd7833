"""scsipub/bench/client.py"""

import pytest

from scsipub.bench.client import run
from scsipub.bench.job import Job
from scsipub.bench.wire import TargetError, Url
from tests.support.tiny_target import tiny_target

SHORT = {"seconds": 0.1, "ramp_seconds": 0.0}


def measure(target, **job):
    return run(Url.parse(target.url), Job(**(SHORT | job)))


def io(target):
    """Operation codes of the READs and WRITEs that came."""
    return [cdb[0] for cdb in target.commands if cdb[0] in (0x28, 0x2A)]


@pytest.mark.parametrize("depth", [1, 32])
def test_every_read_that_was_sent_is_counted(depth):
    with tiny_target() as target:
        report = measure(target, depth=depth)

        assert report.operations_total == len(io(target)) > 0
        assert set(io(target)) == {0x28}
        assert report.latency.count() == report.operations


def test_reads_longer_than_the_receive_buffer_are_followed_to_their_last_byte():
    with tiny_target(segment=1 << 20) as target:
        report = measure(target, block_size=2 << 20, depth=2, sequential=True)

        assert report.operations_total == len(io(target)) > 0


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"InitialR2T": "Yes"},
        {"ImmediateData": "No"},
        {"InitialR2T": "Yes", "ImmediateData": "No"},
        {"InitialR2T": "Yes", "MaxBurstLength": "8192"},
    ],
)
def test_writes_arrive_whole_under_every_pair_of_data_keys(keys):
    with tiny_target(blocks=256) as target:
        target.keys |= keys
        report = measure(target, read_percent=0, block_size=65536, depth=4)

        assert report.operations_total == len(io(target)) > 0
        assert target.disk[:65536] == target.disk[65536:] != bytes(65536)


def test_a_mix_sends_both():
    with tiny_target() as target:
        measure(target, read_percent=50)

        assert set(io(target)) == {0x28, 0x2A}


def test_the_command_window_is_kept():
    with tiny_target(window=3) as target:
        report = measure(target, depth=32)

        assert report.operations_total == len(io(target)) > 0


def test_several_connections_share_one_report():
    with tiny_target() as target:
        report = measure(target, connections=3, depth=4)

        assert report.operations_total == len(io(target)) > 0


def test_pings_are_answered():
    with tiny_target(pings=True) as target:
        measure(target, depth=1)

        assert target.pongs > 0


def test_an_error_status_ends_the_measurement():
    with tiny_target(status=0x08) as target, pytest.raises(TargetError, match="status 08h"):
        measure(target)


def test_a_target_that_hangs_up_is_an_error():
    with tiny_target(hangs_up_after=50) as target, pytest.raises(ConnectionError):
        measure(target, seconds=5)
