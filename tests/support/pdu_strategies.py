"""Hypothesis strategies for PDUs, built from the codec's own list of fields."""

from typing import Any

from hypothesis import strategies as st

from scsipub.iscsi.pdu import INITIATOR_PDUS, TARGET_PDUS, Pdu, Place, places
from scsipub.iscsi.pdu_base import Kind


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
