"""Noise: any PDU and any bytes end in answers or in a closed connection, and in nothing else."""

from typing import Any

import attrs
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.strategies import initiator_pdus
from scsipub.errors import FramingLost
from scsipub.iscsi.pdu import Pdu, ScsiCommand
from scsipub.scsi.commands import COMMANDS
from tests.support.talk import Talk, discovery, full_feature

OPERATIONS = sorted({(row.opcode, row.action) for row in COMMANDS.values()}, key=str)
ANY = initiator_pdus()


@st.composite
def plausible(draw: st.DrawFn) -> Pdu:
    """Any PDU, its numbers drawn to where they matter: tags that are in use, CmdSN near the window."""
    it: Any = draw(ANY)
    changes: dict[str, Any] = {}
    if hasattr(it, "cmd_sn"):
        changes["cmd_sn"] = draw(st.sampled_from([0, 0, 0, 0, 1, 2, 5, 33, 0xFFFFFFFF]))
    if hasattr(it, "initiator_task_tag"):
        changes["initiator_task_tag"] = draw(st.integers(0, 4))
    if hasattr(it, "target_transfer_tag"):
        changes["target_transfer_tag"] = draw(st.sampled_from([0xFFFFFFFF, 1, 2, 3]))
    if hasattr(it, "buffer_offset"):
        changes["buffer_offset"] = draw(st.sampled_from([0, 0, 512, 0xFFFFFFFF]))
        changes["data_sn"] = draw(st.sampled_from([0, 0, 1]))
    if hasattr(it, "lun"):
        changes["lun"] = draw(st.sampled_from([0, 0, 0, 0x4000 << 48, 1 << 48]))
    if isinstance(it, ScsiCommand):
        opcode, action = draw(st.sampled_from(OPERATIONS))
        cdb = bytearray(it.cdb if draw(st.booleans()) else 16)
        cdb[0] = opcode
        if action is not None:
            cdb[1] = cdb[1] & 0xE0 | action
        changes["cdb"] = bytes(cdb)
        changes["expected_data_transfer_length"] = draw(
            st.sampled_from([0, 4, 24, 512, 513, 4096, 2**32 - 1])
        )
    return attrs.evolve(it, **changes)


@settings(max_examples=300, deadline=None)
@given(st.lists(plausible(), max_size=12), st.booleans(), st.booleans())
def test_any_pdus_are_answered_or_end_the_connection(said, initial_r2t, slow):
    """A PeerError that says what is owed, or nothing."""
    talk = full_feature(InitialR2T=initial_r2t)
    talk.held = slow
    talk.disk.settled = talk.disk.cached = not slow

    listen(talk, said)
    while talk.threads:
        talk.thread()

    talk.nexus.close()
    assert talk.nexus.writes.buffered == 0
    assert talk.backings[0].quiet


@settings(max_examples=100, deadline=None)
@given(st.lists(plausible(), max_size=12))
def test_a_discovery_session_stands_any_pdus_as_well(said):
    """Where no units are, the same: what is owed, or nothing, and no other exception."""
    listen(discovery("iqn.2025-01.pub.scsipub:a"), said)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=1000), st.booleans())
def test_any_bytes_are_answered_or_end_the_connection(noise, digests):
    """FramingLost or an answer; no other exception leaves."""
    talk = full_feature(HeaderDigest=digests, DataDigest=digests)
    try:
        talk.bytes(noise)
    except FramingLost:
        return


def listen(talk: Talk, said: list[Pdu]) -> None:
    try:
        for each in said:
            talk.initiator(each)
    except FramingLost:
        talk.worker.out.take()
