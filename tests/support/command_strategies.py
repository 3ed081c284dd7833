"""What an initiator may come up with: READ and WRITE as the fast lane takes them, and odd in all ways."""

from typing import Any

import attrs
from hypothesis import strategies as st

from scsipub.iscsi.pdu import NopOut, ScsiCommand, TextRequest
from tests.support.talk import (
    command,
    data_out,
    pattern,
    read,
    read_10,
    read_16,
    write,
    write_10,
    write_16,
)  # fmt: skip

BLOCKS = 300
FIRST_BURST = 4096

MOSTLY_NOT = st.sampled_from([False] * 9 + [True])


@st.composite
def small_commands(draw: st.DrawFn) -> ScsiCommand:
    """READ or WRITE that the fast lane takes."""
    count = draw(st.sampled_from([1, 2, 7, 8]))
    lba = draw(st.integers(0, BLOCKS - 8))
    tag = draw(st.integers(0, 5))
    wide = draw(st.booleans())
    if draw(st.booleans()):
        return read(tag, lba, count, cdb=(read_16 if wide else read_10)(lba, count))
    data = pattern(count * 512, draw(st.integers(0, 65535)))
    return write(tag, lba, count, data, cdb=(write_16 if wide else write_10)(lba, count))


def _byte(at_10: int, at_16: int, *values: int) -> Any:
    """A tweak of one byte of the CDB."""

    def tweak(draw: st.DrawFn, it: ScsiCommand) -> ScsiCommand:
        cdb = bytearray(it.cdb)
        cdb[at_16 if cdb[0] & 0x80 else at_10] = draw(st.sampled_from(values))
        return attrs.evolve(it, cdb=bytes(cdb))

    return tweak


def _field(name: str, *values: Any) -> Any:
    return lambda draw, it: attrs.evolve(it, **{name: draw(st.sampled_from(values))})


def _lba(draw: st.DrawFn, it: ScsiCommand) -> ScsiCommand:
    lba = draw(st.sampled_from([BLOCKS - 1, BLOCKS, BLOCKS + 1, 0xFFFFFFFF]))
    wide = it.cdb[0] & 0x80
    return attrs.evolve(it, cdb=it.cdb[:2] + lba.to_bytes(8 if wide else 4) + it.cdb[10 if wide else 6 :])


def _expected(draw: st.DrawFn, it: ScsiCommand) -> ScsiCommand:
    expected = it.expected_data_transfer_length + draw(st.sampled_from([-512, -1, 1, 512]))
    return attrs.evolve(it, expected_data_transfer_length=max(0, expected))


def _data(draw: st.DrawFn, it: ScsiCommand) -> ScsiCommand:
    return attrs.evolve(it, data=pattern(draw(st.sampled_from([0, 1, 512, 1024, 4096, 4097, 8192]))))


TWEAKS = [
    _byte(1, 1, 0x08, 0x10, 0x18, 0x20, 0x01),
    _byte(6, 14, 0x01, 0x1F, 0x20),
    _byte(9, 15, 0x01, 0x04),
    _byte(0, 0, 0x08, 0x0A, 0xA8, 0xAA, 0x2F, 0x00),
    _field("initiator_task_tag", 0xFFFFFFFF),
    _field("immediate", True),
    _field("final", False),
    _field("read", True, False),
    _field("write", True, False),
    _field("attribute", 0, 2, 3, 4, 7),
    _field("lun", 0x4000 << 48, 1 << 48, 1, 0xC101 << 48),
    _field("ahs", b"\0\5\1\0abcd"),
    _lba,
    _expected,
    _data,
]


@st.composite
def odd_commands(draw: st.DrawFn) -> ScsiCommand:
    """READ or WRITE of any length in which one or two things may be odd."""
    count = draw(st.sampled_from([0, 1, 8, 9, 16, 128, 129, 200, BLOCKS]))
    lba = draw(st.integers(0, BLOCKS - count))
    wide, tag = draw(st.booleans()), draw(st.integers(0, 5))
    if draw(st.booleans()):
        it = read(tag, lba, count, cdb=(read_16 if wide else read_10)(lba, count))
    else:
        data = pattern(min(count * 512, draw(st.sampled_from([0, FIRST_BURST]))))
        it = write(tag, lba, count, data, cdb=(write_16 if wide else write_10)(lba, count))
    for tweak in draw(st.lists(st.sampled_from(TWEAKS), max_size=2)):
        it = tweak(draw, it)
    return it


OTHERS = st.sampled_from(
    [
        command(40),
        NopOut(immediate=True, initiator_task_tag=41, data=b"ping"),
        NopOut(initiator_task_tag=42),
        command(43, bytes.fromhex("120000002400").ljust(16, b"\0"), read=True,
                expected_data_transfer_length=36),
        command(44, bytes.fromhex("350000").ljust(16, b"\0")),
        TextRequest(initiator_task_tag=45, data=b"MaxRecvDataSegmentLength=1024\0"),
        TextRequest(initiator_task_tag=45, data=b"MaxRecvDataSegmentLength=65536\0"),
        data_out(0, 0, pattern(512)),
        data_out(1, 512, pattern(512), final=False),
    ]
)  # fmt: skip
KEYS = st.fixed_dictionaries(
    {
        "HeaderDigest": st.booleans(),
        "DataDigest": st.booleans(),
        "InitialR2T": st.booleans(),
        "ImmediateData": st.sampled_from([True, True, True, False]),
        "MaxRecvDataSegmentLength": st.sampled_from([512, 4096, 65536, 262144]),
        "MaxBurstLength": st.sampled_from([4096, 262144]),
        "FirstBurstLength": st.just(FIRST_BURST),
        "cmd_sn": st.sampled_from([1, 0xFFFFFFF0]),
        "stat_sn": st.sampled_from([0, 0xFFFFFFF0]),
    }
)
