"""Hypothesis strategies for PDUs, text keys and CDBs, built from the codec's own tables.

Source: ``iscsi.pdu.places``, ``iscsi.keys.KEYS``, ``scsi.commands.COMMANDS``.  What they draw fits its
field; it need not make sense.  The steps of ``liar`` make sense; ``steps`` here lets Hypothesis draw
those."""

from typing import Any

from hypothesis import strategies as st

from fuzz import texts
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
