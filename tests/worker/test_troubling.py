"""Troubling: the disk of a unit becomes faulty beneath its sessions, and well again."""

import attrs
import pytest
import trio

from scsipub.iscsi.pdu import DataIn, ScsiResponse
from scsipub.limits import DEFAULT
from tests.support.worker_parts import set_up

SYNCHRONIZE_CACHE = b"\x35"
ONE = b"\x11" * 512
SLOW = [{"fault": "slow", "seconds": 3600.0}]


def trouble(bench, rules, lun=0, session=0):
    """As control asks for it; None only looks."""
    [*sessions] = bench.worker.live
    return bench.worker.set_disk_faults({"id": sessions[session], "lun": lun, "rules": rules, "seed": 1}, [])


def backing(bench, session=0):
    return list(bench.worker.live.values())[session].opened.backings[0]


async def sense_of(peer, cdb=None, **how):
    """Key, ASC and ASCQ of the next answer; all 0 when it is good."""
    if cdb is not None:
        await peer.command(cdb, **how)
    answer = await peer.hear()
    if isinstance(answer, DataIn):
        return (0, 0, 0)
    assert isinstance(answer, ScsiResponse)
    return (answer.data[4] & 0xF, *answer.data[14:16]) if answer.status else (0, 0, 0)


def read_cdb(lba):
    return b"\x28\0" + lba.to_bytes(4) + b"\0\0\1"


READING = {"read": True, "expected_data_transfer_length": 512}


@pytest.mark.parametrize(
    ("rule", "reads", "writes", "flushes"),
    [
        ({"fault": "eio", "access": "read"}, (3, 0x11, 0), (0, 0, 0), (0, 0, 0)),
        ({"fault": "eio", "access": "write"}, (0, 0, 0), (3, 0x0C, 0), (0, 0, 0)),
        ({"fault": "eio", "access": "flush"}, (0, 0, 0), (0, 0, 0), (3, 0x0C, 0)),
        ({"fault": "enospc"}, (0, 0, 0), (7, 0x27, 0x07), (0, 0, 0)),
        ({"fault": "short"}, (3, 0x11, 0), (3, 0x0C, 0), (3, 0x0C, 0)),
    ],
)
async def test_the_initiator_hears_what_a_real_disk_would_have_said(bench, rule, reads, writes, flushes):
    """SPC-4 §4.5.6.  Both ways there: written before, so that the fast way was open."""
    peer = await bench.open()
    await peer.write(0, ONE)
    trouble(bench, [rule])

    assert await sense_of(peer, read_cdb(0), **READING) == reads
    await peer.command(
        b"\x2a" + bytes(7) + b"\1", write=True, expected_data_transfer_length=512, data=b"\x22" * 512
    )
    assert await sense_of(peer) == writes
    assert await sense_of(peer, SYNCHRONIZE_CACHE) == flushes

    assert trouble(bench, [])["rules"] == []
    assert await peer.read(0, 1) == (ONE if any(writes) else b"\x22" * 512)
    assert await sense_of(peer, SYNCHRONIZE_CACHE) == (0, 0, 0)
    assert backing(bench).real.statistics().failed == ""


async def test_what_happened_is_told(bench):
    peer = await bench.open()
    trouble(bench, [{"fault": "eio", "access": "read", "sectors": [8, 15]}])

    await peer.read(7, 1)
    assert await sense_of(peer, read_cdb(8), **READING) == (3, 0x11, 0)

    told = trouble(bench, None)
    assert (told["seed"], told["accesses"], told["struck"]) == (1, 2, 1)
    [event] = told["events"]
    assert (event["number"], event["access"], event["first"], event["sectors"]) == (2, "read", 8, 1)


async def test_a_slow_disk_holds_up_nobody_else(nursery, tmp_path):
    """Neither the loop nor the worker's threads: here there is but one of these."""
    bench = await set_up(nursery, tmp_path, attrs.evolve(DEFAULT, worker_threads=1))
    slow, other = await bench.open(), await bench.open()
    await other.write(0, ONE)
    trouble(bench, SLOW)
    for _ in range(6):
        await slow.command(read_cdb(0), **READING)
    await bench.until(lambda: trouble(bench, None)["struck"] == 4)

    assert await slow.ping() == b"there?"
    assert await other.read(0, 1) == ONE
    await other.write(1 << 10, ONE)  # a new chunk: through a thread
    assert bench.worker.threads.borrowed_tokens == 0

    trouble(bench, [])
    for _ in range(6):
        assert await sense_of(slow) == (0, 0, 0)


async def test_who_leaves_a_slow_disk_is_not_kept(bench):
    peer = await bench.open()
    trouble(bench, SLOW)
    await peer.command(read_cdb(0), **READING)
    await bench.until(lambda: trouble(bench, None)["struck"] == 1)

    peer.sock.close()

    await bench.until(lambda: not bench.worker.live)


async def test_a_worker_that_is_replaced_does_not_wait_for_a_slow_disk(bench):
    bench.control.shared = True
    peers = await bench.open(), await bench.open()
    trouble(bench, SLOW)
    for peer in peers:
        await peer.command(read_cdb(0), **READING)
    await bench.until(lambda: trouble(bench, None)["struck"] == 2)

    with trio.fail_after(60):
        await bench.worker.drain(0.0)

    await bench.until(lambda: not bench.worker.live)


async def test_it_is_one_disk_for_all_sessions_of_a_shared_unit_and_ends_with_the_last(bench):
    bench.control.shared = True
    one, other = await bench.open(), await bench.open()
    trouble(bench, [{"fault": "eio"}])
    assert await sense_of(other, read_cdb(0), **READING) == (3, 0x11, 0)
    assert trouble(bench, None, session=1)["struck"] == 1

    one.sock.close()
    await bench.until(lambda: len(bench.worker.live) == 1)
    assert await sense_of(other, read_cdb(0), **READING) == (3, 0x11, 0)
    other.sock.close()
    await bench.until(lambda: not bench.worker.live)

    again = await bench.open()
    assert await again.read(0, 1) == bytes(512)
    assert trouble(bench, None)["rules"] == []


async def test_a_disposable_disk_is_one_session_s_alone(bench):
    _, other = await bench.open(), await bench.open()
    trouble(bench, [{"fault": "eio"}])

    assert await other.read(0, 1) == bytes(512)


async def test_a_unit_that_is_not_there_is_told_with_those_that_are(bench):
    _ = await bench.open(), await bench.open(None)
    await bench.until(lambda: len(bench.worker.live) == 2)

    assert trouble(bench, None, lun=1) == {"luns": [0]}
    assert trouble(bench, [], session=1) == {"luns": []}
    assert bench.worker.set_disk_faults({"id": "none", "lun": 0, "rules": None, "seed": 0}, []) is None


async def test_so_many_disks_are_faulty_and_no_more(nursery, tmp_path):
    bench = await set_up(nursery, tmp_path, attrs.evolve(DEFAULT, faulty_disks=1))
    _ = await bench.open(), await bench.open()
    trouble(bench, SLOW)

    assert trouble(bench, SLOW, session=1) == {"most": 1}
    assert trouble(bench, [{"fault": "eio"}])["rules"] == [{"fault": "eio"}]
    trouble(bench, [])
    assert trouble(bench, SLOW, session=1)["rules"] == SLOW


async def test_new_rules_take_the_place_of_the_old_and_of_who_waits_for_them(bench):
    peer = await bench.open()
    trouble(bench, SLOW)
    await peer.command(read_cdb(0), **READING)
    await bench.until(lambda: trouble(bench, None)["struck"] == 1)

    trouble(bench, [{"fault": "eio", "skip": 1}])

    with trio.fail_after(60):
        assert await sense_of(peer) == (0, 0, 0)
    assert trouble(bench, None)["struck"] == 0
