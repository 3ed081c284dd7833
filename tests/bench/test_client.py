"""scsipub/bench/client.py"""

import pytest

from scsipub.bench.client import Lane, run
from scsipub.bench.job import Job, make_plan
from scsipub.bench.wire import Session, TargetError, Url
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


@pytest.mark.parametrize("mode", ["unchecked", "checked"])
@pytest.mark.parametrize(
    ("job", "keys"),
    [
        ({}, {}),
        ({"read_percent": 0, "block_size": 65536, "depth": 4}, {}),
        ({"read_percent": 0, "block_size": 65536, "depth": 4}, {"InitialR2T": "Yes", "ImmediateData": "No"}),
        ({"block_size": 1 << 20, "depth": 3}, {}),
    ],
    ids=["reads", "immediate data", "data that was asked for", "reads longer than the buffer"],
)
def test_everything_that_is_sent_has_its_digests(mode, job, keys):
    """RFC 7143 §13.1."""
    with tiny_target(digests=True, segment=65536) as target:
        target.keys |= keys
        report = measure(target, digests=mode, **job)

        assert report.operations_total == len(io(target)) > 0
        assert target.wrong_digests == 0


def test_pings_have_their_digests():
    with tiny_target(digests=True, pings=True) as target:
        measure(target, digests="checked")

        assert target.pongs > 0
        assert target.wrong_digests == 0


@pytest.mark.parametrize("which", ["header", "data"])
def test_a_wrong_digest_ends_the_measurement_when_they_are_checked(which):
    with tiny_target(digests=True) as target:
        session = Session.open(Url.parse(target.url), "iqn.test:me", digests=True)
        plan = make_plan(Job(), *session.capacity(), 0)
        job = Job(digests="checked", depth=1)
        lane = Lane(session, job, plan, memoryview(bytearray(1 << 20)))
        target.lies_about = which
        lane.issue()
        with pytest.raises(TargetError, match=f"wrong {which} digest"):
            while True:
                lane.receive(0)


def test_nobody_looks_at_them_when_they_are_not():
    with tiny_target(digests=True) as target:
        session = Session.open(Url.parse(target.url), "iqn.test:me", digests=True)
        plan = make_plan(Job(), *session.capacity(), 0)
        lane = Lane(session, Job(digests="unchecked", depth=1), plan, memoryview(bytearray(1 << 20)))
        target.lies_about = "data"
        lane.issue()
        while not lane.done:
            lane.receive(0)


def test_a_target_that_does_not_want_digests_is_not_measured_with_them():
    with tiny_target() as target, pytest.raises(TargetError, match="both digests"):
        measure(target, digests="unchecked")


def test_an_error_status_ends_the_measurement():
    with tiny_target(status=0x08) as target, pytest.raises(TargetError, match="status 08h"):
        measure(target)


def test_a_target_that_hangs_up_is_an_error():
    with tiny_target(hangs_up_after=50) as target, pytest.raises(ConnectionError):
        measure(target, seconds=5)
