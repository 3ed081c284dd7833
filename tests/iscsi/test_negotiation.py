"""What two sides have agreed: order, repeats, bursts."""

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scsipub.errors import PduRejected
from scsipub.iscsi.keys import DEFAULTS, KEYS, Combine
from scsipub.iscsi.negotiation import Negotiation
from scsipub.limits import DEFAULT

NUMBER = st.integers(512, 2**24 - 1).map(str)


def test_nothing_offered_leaves_everything_at_its_default() -> None:
    """RFC 7143 §6.2."""
    negotiation = Negotiation.begin(DEFAULT)

    assert negotiation.answer_untrusted([]) == []
    assert negotiation.values == DEFAULTS


@given(NUMBER, NUMBER, st.booleans(), st.booleans())
def test_a_first_burst_never_exceeds_a_burst(
    first: str, burst: str, first_comes_first: bool, apart: bool
) -> None:
    """RFC 7143 §13.14: in whichever order and request they come."""
    pairs = [("MaxBurstLength", burst), ("FirstBurstLength", first)]
    if first_comes_first:
        pairs.reverse()
    negotiation = Negotiation.begin(DEFAULT)

    if apart and not first_comes_first:
        answers = negotiation.answer_untrusted(pairs[:1]) + negotiation.answer_untrusted(pairs[1:])
    else:
        answers = negotiation.answer_untrusted(pairs)

    assert [key for key, _ in answers] == [key for key, _ in pairs]
    said = dict(answers)
    assert int(said["FirstBurstLength"]) <= int(said["MaxBurstLength"])
    assert negotiation.values["FirstBurstLength"] == int(said["FirstBurstLength"])


def test_a_first_burst_alone_stays_within_the_default_burst() -> None:
    """RFC 7143 §13.13: 262144 when nobody speaks of it."""
    negotiation = Negotiation.begin(attrs.evolve(DEFAULT, first_burst=2**20))

    assert negotiation.answer_untrusted([("FirstBurstLength", "1048576")]) == [("FirstBurstLength", "262144")]


@pytest.mark.parametrize(
    "key",
    sorted(
        k for k, row in KEYS.items() if row.combine in (Combine.MIN, Combine.MAX, Combine.AND, Combine.OR)
    ),
)
def test_no_key_is_negotiated_twice(key: str) -> None:
    """RFC 7143 §6.3: to try is an initiator error, in one request or in two."""
    offer = "Yes" if KEYS[key].combine in (Combine.AND, Combine.OR) else "1024"
    negotiation = Negotiation.begin(DEFAULT)
    negotiation.answer_untrusted([(key, offer)])

    with pytest.raises(PduRejected):
        negotiation.answer_untrusted([(key, offer)])
    with pytest.raises(PduRejected):
        Negotiation.begin(DEFAULT).answer_untrusted([(key, offer), (key, offer)])


def test_a_declaration_may_be_made_again() -> None:
    """RFC 7143 §6.2: the last one holds."""
    negotiation = Negotiation.begin(DEFAULT)

    assert negotiation.answer_untrusted([("MaxRecvDataSegmentLength", "512")] * 2) == []
    negotiation.answer_untrusted([("MaxRecvDataSegmentLength", "4096")])
    assert negotiation.values["MaxRecvDataSegmentLength"] == 4096


@pytest.mark.parametrize("key", sorted(k for k, row in KEYS.items() if row.irrelevant_in_discovery))
def test_what_only_scsi_needs_is_irrelevant_in_a_discovery(key: str) -> None:
    """RFC 7143 §13: 'Irrelevant when: SessionType=Discovery', whatever the value."""
    negotiation = Negotiation.begin(DEFAULT)
    negotiation.discovery = True

    assert negotiation.answer_untrusted([(key, "42")]) == [(key, "Irrelevant")]
    assert negotiation.values == DEFAULTS


@given(
    st.lists(
        st.tuples(st.sampled_from([*KEYS, "X-a"]), st.one_of(NUMBER, st.sampled_from(["Yes", "No", "None"])))
    )
)
@settings(max_examples=200)
def test_whatever_is_offered_what_holds_is_within_bounds(pairs: list[tuple[str, str]]) -> None:
    """The server's own state, not only its answers."""
    negotiation = Negotiation.begin(DEFAULT)
    try:
        answers = negotiation.answer_untrusted(pairs)
    except PduRejected:
        answers = []
    values = negotiation.values

    assert {key for key, _ in answers} <= {key for key, _ in pairs}
    assert 512 <= int(values["FirstBurstLength"]) <= int(values["MaxBurstLength"]) or not answers
    assert int(values["MaxBurstLength"]) <= max(DEFAULT.max_burst, 262144)
    assert 512 <= int(values["MaxRecvDataSegmentLength"]) <= 2**24 - 1
    assert (values["MaxConnections"], values["MaxOutstandingR2T"], values["ErrorRecoveryLevel"]) == (1, 1, 0)
    assert values["DataPDUInOrder"] is values["DataSequenceInOrder"] is True
    assert 0 <= int(values["DefaultTime2Wait"]) <= 3600 and 0 <= int(values["DefaultTime2Retain"]) <= 20
