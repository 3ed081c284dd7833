"""Hypothesis strategies for PDUs, text keys, CDBs and parameter lists, built from the codec's own tables.

Source: ``iscsi.pdu.places``, ``iscsi.keys.KEYS``, ``scsi.commands.COMMANDS``.  For tests of anything that
speaks iSCSI, also elsewhere; docs/fuzzing.md has an example.

    pdus()              what an initiator may say: every field takes every value, tags are allowed
    target_pdus()       what a target may say
    wires(pdus())       their bytes: lengths right, padded, digests if wanted
    mangled(pdus())     their bytes, broken in one or two ways by ``mangle``
    pairs(), text()     keys with values inside, at and beyond their bounds; the same as the text of a PDU
    cdbs(), orders()    CDBs that set no bit their row does not claim; CDBs with data and lengths that fit
    parameter_lists()   what UNMAP, MODE SELECT, PERSISTENT RESERVE OUT and their like take"""

from typing import Any

from hypothesis import strategies as st

from fuzz import cdbs as orders_of
from fuzz import mangle, texts
from fuzz.cdbs import PARAMETER_LISTS, Order
from fuzz.hearing import NO_TAG, crc
from fuzz.steps import say
from scsipub.iscsi.keys import KEYS, Boolean, Choice, Key, Number
from scsipub.iscsi.pdu import INITIATOR_PDUS, TARGET_PDUS, Pdu, Place, places
from scsipub.iscsi.pdu_base import Kind
from scsipub.scsi.command import Command
from scsipub.scsi.commands import COMMANDS


def _values(place: Place) -> st.SearchStrategy[Any]:
    if place.kind is Kind.FLAG:
        return st.booleans()
    if place.kind is Kind.RAW:
        return st.binary(min_size=place.length, max_size=place.length)
    return st.integers(0, place.maximum)


def pdus_of(cls: type[Pdu], max_data: int = 64) -> st.SearchStrategy[Pdu]:
    """Any PDU of one kind: every field takes every value that fits."""
    fields = {name: _values(place) for name, place in places(cls)}
    ahs = st.integers(0, 4).flatmap(lambda words: st.binary(min_size=4 * words, max_size=4 * words))
    return st.builds(cls, data=st.binary(max_size=max_data), ahs=ahs, **fields)


def initiator_pdus() -> st.SearchStrategy[Pdu]:
    """Any PDU an initiator may send."""
    return st.one_of([pdus_of(cls) for cls in INITIATOR_PDUS.values()])


def pdus(max_data: int = 64) -> st.SearchStrategy[Pdu]:
    """Any PDU an initiator may send, with a task tag that is allowed."""

    def tagged(it: Pdu) -> bool:
        return getattr(it, "initiator_task_tag", 0) != NO_TAG

    return st.one_of([pdus_of(cls, max_data).filter(tagged) for cls in INITIATOR_PDUS.values()])


def wire(it: Pdu, *, header_digest: bool = False, data_digest: bool = False) -> bytes:
    """The bytes of a PDU: lengths filled in, padded, with the digests that were negotiated."""
    header = bytearray(it.pack())
    header[4], header[5:8] = len(it.ahs) // 4, len(it.data).to_bytes(3)
    out = bytes(header) + it.ahs
    if header_digest:
        out += crc(out).to_bytes(4, "little")
    if it.data:
        padded = it.data + bytes(-len(it.data) % 4)
        out += padded + (crc(padded).to_bytes(4, "little") if data_digest else b"")
    return out


def wires(of: st.SearchStrategy[Pdu], **digests: bool) -> st.SearchStrategy[bytes]:
    """The bytes of what is drawn."""
    return of.map(lambda it: wire(it, **digests))


def mangled(of: st.SearchStrategy[Pdu], **digests: bool) -> st.SearchStrategy[bytes]:
    """The bytes of what is drawn, broken on purpose: a length, a number, a tag, an offset, a bit, a digest, a
    cut at any byte, noise, twice the same.  Numbers are broken before digests are computed."""

    def broken(it: Pdu, dice: Any, times: int) -> bytes:
        step = say(it)
        ways = tuple(mangle.pick(dice, step) for _ in range(times))
        header = bytearray(wire(it)[:48])
        mangle.numbers(header, ways)
        whole = wire(it, **digests)
        out = bytes(header) + whole[48:]
        if digests.get("header_digest"):
            at = 48 + len(it.ahs)
            out = out[:at] + crc(out[:at]).to_bytes(4, "little") + out[at + 4 :]
        return mangle.wire(out, ways)

    return st.builds(broken, of, st.randoms(use_true_random=False), st.integers(1, 2))


def target_pdus() -> st.SearchStrategy[Pdu]:
    """Any PDU a target may send."""
    return st.one_of([pdus_of(cls) for cls in TARGET_PDUS.values()])


def values_of(key: Key) -> st.SearchStrategy[str]:
    """What may be said for a key: inside its type, at its bounds, beyond, and nonsense."""
    kind = key.type
    proper: st.SearchStrategy[str]
    if isinstance(kind, Number):
        numbers = st.integers(kind.low, kind.high) | st.sampled_from((kind.low - 1, kind.high + 1))
        proper = st.one_of(numbers.map(str), numbers.map(hex))
    elif isinstance(kind, Boolean):
        proper = st.sampled_from(("Yes", "No"))
    elif isinstance(kind, Choice):
        proper = st.lists(st.sampled_from((*kind.supported, "KRB5")), min_size=1, max_size=4).map(",".join)
    else:
        proper = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=300)
    return proper | st.sampled_from(texts.WEIRD)


def pairs() -> st.SearchStrategy[list[tuple[str, str]]]:
    """Some keys with their values, in any order, perhaps one twice."""
    each = [st.tuples(st.just(name), values_of(key)) for name, key in KEYS.items()]
    return st.lists(st.one_of(each), max_size=10)


def text() -> st.SearchStrategy[bytes]:
    """``pairs`` as the data segment of a Login or Text Request."""
    return pairs().map(texts.text)


def orders(blocks: int = 1024, block_size: int = 512) -> st.SearchStrategy[Order]:
    """Commands with what they want: mostly inside a unit of this size, with data and lengths that fit."""
    dice = st.randoms(use_true_random=False)
    return dice.map(lambda d: orders_of.any_order(d, blocks, block_size))


def parameter_lists_of(row: Command) -> st.SearchStrategy[bytes]:
    """What a command of this row may be sent: mostly right, its lengths mostly true."""

    def drawn(dice: Any) -> bytes:
        return orders_of.with_list(dice, row, bytearray(row.size), 512).data

    return st.randoms(use_true_random=False).map(drawn)


def parameter_lists() -> st.SearchStrategy[bytes]:
    """Parameter lists of every command that takes one."""
    rows = [row for row in COMMANDS.values() if row.opcode in PARAMETER_LISTS]
    return st.one_of([parameter_lists_of(row) for row in rows])


def cdbs_of(row: Command) -> st.SearchStrategy[bytes]:
    """Any CDB of one row of the command table: no bit set that its usage map does not claim."""

    def claimed(noise: bytes) -> bytes:
        cdb = bytearray(byte & allowed for byte, allowed in zip(noise, row.usage, strict=True))
        cdb[0] = row.opcode
        if row.action is not None:
            cdb[1] = cdb[1] & 0xE0 | row.action
        return bytes(cdb).ljust(16, b"\0")

    return st.binary(min_size=row.size, max_size=row.size).map(claimed)


def cdbs() -> st.SearchStrategy[bytes]:
    """Any CDB of any row."""
    return st.one_of([cdbs_of(row) for row in COMMANDS.values()])
